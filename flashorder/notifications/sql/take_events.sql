-- Lease the first waiting event of each key that is due: a later one waits for the earlier ones of
-- its key. The lease is `available_at` pushed forward, so what a dead relay held comes back by
-- itself. $1 how many at most, $2 lease in seconds.
WITH ready AS (
    SELECT event_id
    FROM outbox AS event
    WHERE processed_at IS NULL
      AND available_at <= now()
      AND NOT EXISTS (
          SELECT
          FROM outbox AS earlier
          WHERE earlier.key = event.key
            AND earlier.processed_at IS NULL
            AND earlier.event_id < event.event_id
      )
    ORDER BY event_id
    LIMIT $1
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE outbox AS event
SET available_at = now() + make_interval(secs => $2),
    attempts = attempts + 1
FROM ready
WHERE event.event_id = ready.event_id
RETURNING event.event_id, event.topic, event.key, event.payload, event.attempts
