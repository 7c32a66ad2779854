-- Cancelled units are no longer promised. Rows are locked in one order, so that two batches cannot
-- wait for each other. $1 sale ids, $2 SKUs, $3 units; each (sale, SKU) once.
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[]) AS g (sale_id, sku, quantity)
),
locked AS (
    SELECT item.sale_id, item.sku
    FROM sale_items AS item
    JOIN given USING (sale_id, sku)
    ORDER BY item.sale_id, item.sku
    FOR UPDATE OF item
)
UPDATE sale_items AS item
SET committed = item.committed - given.quantity
FROM given
JOIN locked USING (sale_id, sku)
WHERE item.sale_id = given.sale_id
  AND item.sku = given.sku
RETURNING item.sku
