-- The shipment that a tracking number belongs to, held until the end of the transaction.
-- $1 carrier, $2 tracking number.
SELECT shipment_id, order_id, status, tracking_status, exception_at, exception_detail
FROM shipments WHERE carrier = $1 AND tracking_number = $2
FOR UPDATE
