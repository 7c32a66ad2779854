-- A page of a buyer's orders, newest first; null parameters do not filter. Apart from the staff's
-- search, so that one plan serves every call: along the index by buyer.
-- $1 buyer, $2 status, $3 kind, $4 accepted at or after, $5 ids below this one, $6 how many.
SELECT order_id
FROM orders
WHERE buyer_id = $1
  AND ($2::text IS NULL OR status = $2)
  AND ($3::text IS NULL OR kind = $3)
  AND ($4::timestamptz IS NULL OR accepted_at >= $4)
  AND ($5::uuid IS NULL OR order_id < $5)
ORDER BY order_id DESC
LIMIT $6
