-- Units of one sale ($1) in orders at or below the watermark of their shard ($2 shards, $3 ms,
-- $4 seq), and those that moved or may have moved since $5, when the reading began.
WITH watermark AS (
    SELECT * FROM unnest($2::smallint[], $3::bigint[], $4::bigint[]) AS w (shard, ms, seq)
), known AS (
    SELECT o.order_id, o.status, o.hold, o.released_at, o.updated_at, line.sku, line.quantity
    FROM orders AS o
    JOIN order_lines AS line USING (order_id)
    LEFT JOIN watermark AS w ON w.shard = o.shard
    WHERE o.sale_id = $1
      AND (w.shard IS NULL OR (o.intent_ms, o.intent_seq) <= (w.ms, w.seq))
)
SELECT
    sku,
    coalesce(sum(quantity) FILTER (WHERE status <> 'cancelled'), 0) AS applied,
    coalesce(sum(quantity) FILTER (WHERE status = 'cancelled' AND released_at IS NULL), 0)
        AS unreleased,
    -- Taken again after a late payment: at the front first, here a moment later.
    coalesce(sum(quantity) FILTER (
        WHERE status <> 'cancelled' AND hold > 1 AND updated_at >= $5), 0) AS reclaimed,
    coalesce(sum(quantity) FILTER (WHERE released_at >= $5), 0) AS released,
    coalesce(sum(quantity) FILTER (
        WHERE released_at < $5 AND EXISTS (
            SELECT FROM outbox
            WHERE key = known.order_id AND topic = 'order.paid_late' AND processed_at IS NULL)
    ), 0) AS reclaiming
FROM known
GROUP BY sku
