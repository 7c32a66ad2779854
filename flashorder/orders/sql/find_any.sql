-- A page of all orders, newest first; null parameters do not filter.
-- $1 buyer, $2 status, $3 kind, $4 accepted at or after, $5 accepted before, $6 sale, $7 SKU,
-- $8 order number, $9 ids below this one (the cursor), $10 how many at most.
SELECT order_id
FROM orders
WHERE ($1::uuid IS NULL OR buyer_id = $1)
  AND ($2::text IS NULL OR status = $2)
  AND ($3::text IS NULL OR kind = $3)
  AND ($4::timestamptz IS NULL OR accepted_at >= $4)
  AND ($5::timestamptz IS NULL OR accepted_at < $5)
  AND ($6::uuid IS NULL OR sale_id = $6)
  AND ($7::text IS NULL OR order_id IN (SELECT order_id FROM order_lines WHERE sku = $7))
  AND ($8::text IS NULL OR order_number = $8)
  AND ($9::uuid IS NULL OR order_id < $9)
ORDER BY order_id DESC
LIMIT $10
