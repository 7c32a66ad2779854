-- The parcel was handed over; the first word of it counts. $1 order id.
UPDATE orders
SET delivered_at = coalesce(delivered_at, now())
WHERE order_id = $1
  AND shipped_at IS NOT NULL
