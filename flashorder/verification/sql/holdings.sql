-- Who has units of what by the orders and dead letters of a sale ($1) that were not released.
SELECT buyer_id, sku
FROM orders
JOIN order_lines USING (order_id)
WHERE sale_id = $1 AND released_at IS NULL
UNION
SELECT buyer_id, sku
FROM dead_letters
WHERE sale_id = $1
  AND status <> 'retried'
  AND released_at IS NULL
  AND buyer_id IS NOT NULL
  AND sku IS NOT NULL
