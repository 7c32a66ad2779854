-- Units of each SKU of a sale ($1) that orders hold, and those that dead letters hold as far as
-- there are any left.
SELECT item.sku,
       coalesce(ordered.units, 0)::bigint AS orders,
       coalesce(aside.units, 0)::bigint AS dead_letters
FROM sale_items AS item
LEFT JOIN (
    SELECT line.sku, sum(line.quantity) AS units
    FROM orders AS o
    JOIN order_lines AS line USING (order_id)
    WHERE o.sale_id = $1 AND o.released_at IS NULL
    GROUP BY line.sku
) AS ordered USING (sku)
LEFT JOIN (
    SELECT sku, sum(quantity) AS units
    FROM dead_letters
    WHERE sale_id = $1 AND status <> 'retried' AND released_at IS NULL
      AND NOT EXISTS (SELECT FROM orders WHERE orders.order_id = dead_letters.order_id)
    GROUP BY sku
) AS aside USING (sku)
WHERE item.sale_id = $1
