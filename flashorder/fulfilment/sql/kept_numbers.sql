-- Parcels with kept news whose shipment is known by now. $1 how many at most.
SELECT DISTINCT carrier, tracking_number
FROM carrier_webhooks JOIN shipments USING (carrier, tracking_number)
WHERE applied_at IS NULL
LIMIT $1
