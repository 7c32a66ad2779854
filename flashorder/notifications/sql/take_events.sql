-- Lease what is due and the first waiting event of its key: a later one waits for the earlier ones
-- that have been committed. Those in backoff are passed over by the index, and the subquery is one
-- look into another for each that is due: no plan reads all that waits. The lease is `available_at`
-- pushed forward, so what a dead relay held comes back by itself. $1 how many at most, $2 lease in
-- seconds.
WITH ready AS (
    SELECT event_id
    FROM outbox AS event
    WHERE processed_at IS NULL
      AND available_at <= now()
      AND event_id = (
          SELECT first.event_id
          FROM outbox AS first
          WHERE first.key = event.key
            AND first.processed_at IS NULL
          ORDER BY first.event_id
          LIMIT 1
      )
    ORDER BY available_at, event_id
    LIMIT $1
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE outbox AS event
SET available_at = now() + make_interval(secs => $2),
    attempts = attempts + 1
FROM ready
WHERE event.event_id = ready.event_id
RETURNING event.event_id, event.topic, event.key, event.payload, event.attempts
