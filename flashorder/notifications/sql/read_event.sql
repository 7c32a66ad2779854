-- One event as operators see it. $1 event id.
SELECT *
FROM outbox_events
WHERE event_id = $1
