-- Top-ups and corrections that the front of a sale's present generation had since a moment ($1, and
-- $2 seconds for clocks that differ).
WITH since AS (
    SELECT least($1::timestamptz, now()) - make_interval(secs => $2) AS moment
)
SELECT given.top_up_id, given.sale_id, given.sku, given.quantity, sale.generation
FROM (
    SELECT top_up_id, sale_id, sku, quantity, NULL::integer AS generation
    FROM sale_top_ups
    WHERE applied_at >= (SELECT moment FROM since)
    UNION ALL
    SELECT correction_id, sale_id, sku, quantity, generation
    FROM stock_corrections
    WHERE applied_at >= (SELECT moment FROM since)
) AS given
JOIN sales AS sale USING (sale_id)
WHERE coalesce(given.generation, sale.generation) = sale.generation
  AND sale.status <> 'settled'
  AND sale.rebuilding_since IS NULL
ORDER BY given.quantity DESC
