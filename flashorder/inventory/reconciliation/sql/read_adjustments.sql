-- Top-ups of one sale ($1): promised ones are part of allotted already, but the front may not have
-- them yet, or may have got them since $2. Corrections are none of it: they bring the front back
-- to what was promised.
SELECT
    sku,
    coalesce(sum(quantity) FILTER (WHERE applied_at IS NULL), 0) AS promised,
    coalesce(sum(quantity) FILTER (WHERE quantity > 0 AND applied_at IS NULL), 0) AS raising,
    coalesce(-sum(quantity) FILTER (WHERE quantity < 0 AND applied_at IS NULL), 0) AS lowering,
    coalesce(sum(quantity) FILTER (WHERE quantity > 0 AND applied_at >= $2), 0) AS raised,
    coalesce(-sum(quantity) FILTER (WHERE quantity < 0 AND applied_at >= $2), 0) AS lowered
FROM sale_top_ups
WHERE sale_id = $1
GROUP BY sku
