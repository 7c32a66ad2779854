-- The autopilot's hand: steps inside the warehouse of shipments that have rested for a while; those
-- that another worker holds are left to it.
-- $1 status to enter, $2 statuses to leave, $3 rest in seconds, $4 how many at most.
WITH due AS (
    SELECT shipment_id FROM shipments
    WHERE status = ANY($2::text[]) AND updated_at <= now() - make_interval(secs => $3)
    ORDER BY updated_at
    LIMIT $4
    FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE shipments
    SET status = $1,
        picking_at = CASE WHEN $1 = 'picking' THEN now() ELSE picking_at END,
        packed_at = CASE WHEN $1 = 'packed' THEN now() ELSE packed_at END,
        version = version + 1,
        updated_at = now()
    FROM due
    WHERE shipments.shipment_id = due.shipment_id
    RETURNING shipments.shipment_id, version
)
INSERT INTO shipment_events (shipment_id, version, type, actor)
SELECT shipment_id, version, $1, 'autopilot' FROM moved
RETURNING shipment_id
