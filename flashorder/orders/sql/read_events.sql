-- Timelines from a version on. $1 order ids, $2 for each the last version that is known already.
SELECT event.order_id, event.version, event.type, event.actor, event.occurred_at, event.data
FROM unnest($1::uuid[], $2::integer[]) AS known (order_id, version)
JOIN order_events AS event
  ON event.order_id = known.order_id
 AND event.version > known.version
ORDER BY event.order_id, event.version
