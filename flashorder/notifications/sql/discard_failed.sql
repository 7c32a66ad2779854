-- Give a failing event ($1) up, so that those after it come, and write down who ($2) said so. No
-- row: it is not failing.
WITH discarded AS (
    UPDATE outbox
    SET processed_at = now()
    WHERE event_id = $1
      AND processed_at IS NULL
      AND last_error IS NOT NULL
    RETURNING event_id, topic, key, last_error
)
INSERT INTO outbox_decisions (event_id, topic, key, decision, error, decided_by)
SELECT event_id, topic, key, 'discard', last_error, $2
FROM discarded
RETURNING event_id
