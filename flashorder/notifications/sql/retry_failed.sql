-- Have a failing event ($1) tried now, its backoff from the beginning, and write down who ($2) said
-- so. No row: it is not failing.
WITH retried AS (
    UPDATE outbox
    SET available_at = now(),
        attempts = 0
    WHERE event_id = $1
      AND processed_at IS NULL
      AND last_error IS NOT NULL
    RETURNING event_id, topic, key, last_error
)
INSERT INTO outbox_decisions (event_id, topic, key, decision, error, decided_by)
SELECT event_id, topic, key, 'retry', last_error, $2
FROM retried
RETURNING event_id
