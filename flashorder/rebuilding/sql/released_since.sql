-- Holds of a sale ($1) that were given back since the rebuild began ($2), behind an order ($3), at
-- most $4: the front may have been told before it knew of them.
SELECT order_id, buyer_id, hold
FROM (
    SELECT order_id, buyer_id, hold
    FROM orders
    WHERE sale_id = $1 AND status = 'cancelled' AND released_at >= $2
    UNION ALL
    SELECT order_id, buyer_id, 1
    FROM dead_letters
    WHERE sale_id = $1 AND status = 'discarded' AND released_at >= $2
      AND order_id IS NOT NULL AND buyer_id IS NOT NULL
) AS released
WHERE order_id > $3
ORDER BY order_id
LIMIT $4
