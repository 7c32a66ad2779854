-- Units of one sale ($1) that dead letters hold, at or below the watermark ($2 shards, $3 ms,
-- $4 seq), and of those discarded the ones released since $5. A retried one is an order, and so is
-- one whose order stands after all.
WITH watermark AS (
    SELECT * FROM unnest($2::smallint[], $3::bigint[], $4::bigint[]) AS w (shard, ms, seq)
)
SELECT
    d.sku,
    coalesce(sum(d.quantity) FILTER (WHERE d.released_at IS NULL), 0) AS held,
    coalesce(sum(d.quantity) FILTER (
        WHERE d.status = 'discarded' AND d.released_at IS NULL), 0) AS releasing,
    coalesce(sum(d.quantity) FILTER (WHERE d.released_at >= $5), 0) AS released
FROM dead_letters AS d
LEFT JOIN watermark AS w ON w.shard = d.shard
WHERE d.sale_id = $1
  AND d.status <> 'retried'
  AND d.sku IS NOT NULL
  AND d.quantity IS NOT NULL
  AND NOT EXISTS (SELECT FROM orders AS o WHERE o.order_id = d.order_id)
  AND (w.shard IS NULL OR (d.intent_ms, d.intent_seq) <= (w.ms, w.seq))
GROUP BY d.sku
