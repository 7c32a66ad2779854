-- Events that fail, or were discarded, newest first. $1 status or null, $2 the last id seen or null,
-- $3 how many.
SELECT *
FROM outbox_events
WHERE last_error IS NOT NULL
  AND ($1::text IS NULL OR status = $1)
  AND ($2::bigint IS NULL OR event_id < $2)
ORDER BY event_id DESC
LIMIT $3
