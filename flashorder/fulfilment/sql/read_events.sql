-- The timeline of a shipment. $1 shipment id.
SELECT version, type, actor, occurred_at, data
FROM shipment_events WHERE shipment_id = $1 ORDER BY version
