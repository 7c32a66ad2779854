-- Labels of cancelled shipments that are to be taken back.
-- $1 lease in seconds, $2 how many at most.
WITH due AS (
    SELECT shipment_id FROM shipments WHERE label_cancel_due_at <= now()
    ORDER BY label_cancel_due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE shipments
SET label_cancel_due_at = now() + make_interval(secs => $1)
FROM due
WHERE shipments.shipment_id = due.shipment_id
RETURNING shipments.shipment_id, shipments.carrier
