-- Orders of a sale ($1) behind the last one seen ($2), by id, at most $3; what the front should
-- remember of each.
SELECT order_id, hold, released_at IS NULL AS held
FROM orders
WHERE sale_id = $1 AND order_id > $2
ORDER BY order_id
LIMIT $3
