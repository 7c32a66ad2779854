-- One shipment. $1 shipment id.
SELECT * FROM shipments WHERE shipment_id = $1
