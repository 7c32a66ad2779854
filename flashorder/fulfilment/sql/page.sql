-- A page of shipments, the newest first. $1 status, $2 order id, $3 carrier, $4 tracking number,
-- each or null; $5 last shipment id of the page before or null, $6 how many at most.
SELECT * FROM shipments
WHERE ($1::text IS NULL OR status = $1)
    AND ($2::uuid IS NULL OR order_id = $2)
    AND ($3::text IS NULL OR carrier = $3)
    AND ($4::text IS NULL OR tracking_number = $4)
    AND ($5::uuid IS NULL OR shipment_id < $5)
ORDER BY shipment_id DESC
LIMIT $6
