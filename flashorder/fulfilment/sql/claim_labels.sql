-- Labels that nobody is asking for just now: the asker died, or the carrier was away.
-- $1 lease in seconds, $2 how many at most.
WITH due AS (
    SELECT shipment_id FROM shipments WHERE label_due_at <= now()
    ORDER BY label_due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE shipments
SET label_due_at = now() + make_interval(secs => $1), label_attempts = label_attempts + 1
FROM due
WHERE shipments.shipment_id = due.shipment_id
RETURNING shipments.*
