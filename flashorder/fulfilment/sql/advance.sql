-- A step inside the warehouse (picking, packed), if the shipment is where it may come from.
-- $1 shipment id, $2 status to enter, $3 statuses to leave, $4 actor.
WITH moved AS (
    UPDATE shipments
    SET status = $2,
        picking_at = CASE WHEN $2 = 'picking' THEN now() ELSE picking_at END,
        packed_at = CASE WHEN $2 = 'packed' THEN now() ELSE packed_at END,
        version = version + 1,
        updated_at = now()
    WHERE shipment_id = $1 AND status = ANY($3::text[])
    RETURNING shipments.*
), noted AS (
    INSERT INTO shipment_events (shipment_id, version, type, actor)
    SELECT shipment_id, version, $2, $4 FROM moved
)
SELECT * FROM moved
