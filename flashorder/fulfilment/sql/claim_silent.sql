-- Parcels on their way that have not been heard of for a while; the next asking is set at once.
-- $1 seconds until the next asking, $2 how many at most.
WITH due AS (
    SELECT shipment_id FROM shipments WHERE tracking_due_at <= now()
    ORDER BY tracking_due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE shipments
SET tracking_due_at = now() + make_interval(secs => $1)
FROM due
WHERE shipments.shipment_id = due.shipment_id
RETURNING shipments.carrier, shipments.tracking_number
