-- The last guard: units are promised only while there are any; a (sale, SKU) that does not come
-- back was refused. Rows are locked in one order. $1 sale ids, $2 SKUs, $3 units; each pair once.
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[]) AS w (sale_id, sku, quantity)
),
locked AS (
    SELECT item.sale_id, item.sku
    FROM sale_items AS item
    JOIN wanted USING (sale_id, sku)
    ORDER BY item.sale_id, item.sku
    FOR UPDATE OF item
)
UPDATE sale_items AS item
SET committed = item.committed + wanted.quantity
FROM wanted
JOIN locked USING (sale_id, sku)
WHERE item.sale_id = wanted.sale_id
  AND item.sku = wanted.sku
  AND item.committed + wanted.quantity <= item.allotted
RETURNING item.sale_id, item.sku
