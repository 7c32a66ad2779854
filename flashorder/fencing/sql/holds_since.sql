-- Holds of a shard ($1) that were given back or taken again since a moment ($2, and $5 seconds for
-- clocks that differ), behind an order ($3), at most $4: the front was told of them.
WITH since AS (
    SELECT least($2::timestamptz, now()) - make_interval(secs => $5) AS moment
)
SELECT changed.order_id, changed.sale_id, changed.buyer_id, changed.hold, changed.released
FROM (
    SELECT order_id, sale_id, buyer_id, hold, true AS released, shard
    FROM orders
    WHERE released_at >= (SELECT moment FROM since)
    UNION ALL
    SELECT order_id, sale_id, buyer_id, hold, false, shard
    FROM orders
    WHERE hold > 1 AND updated_at >= (SELECT moment FROM since) AND status <> 'cancelled'
    UNION ALL
    SELECT order_id, sale_id, buyer_id, 1, true, shard
    FROM dead_letters
    WHERE released_at >= (SELECT moment FROM since) AND order_id IS NOT NULL AND buyer_id IS NOT NULL
) AS changed
JOIN sales AS sale ON sale.sale_id = changed.sale_id AND sale.status <> 'settled'
WHERE changed.shard = $1
  AND changed.order_id > $3
ORDER BY changed.order_id
LIMIT $4
