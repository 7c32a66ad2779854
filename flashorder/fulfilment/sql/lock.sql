-- One shipment, held until the end of the transaction. $1 shipment id.
SELECT shipment_id, order_id, status, carrier, tracking_number, tracking_status, exception_at,
       exception_detail
FROM shipments WHERE shipment_id = $1
FOR UPDATE
