-- Stock by SKU. A product without movements has none; one whose movements nobody counted says so.
SELECT product.sku,
       product.name,
       coalesce(level.on_hand, 0) AS on_hand,
       coalesce(level.available, 0) AS available,
       EXISTS (
           SELECT FROM stock_movements AS movement
           WHERE movement.sku = product.sku
             AND movement.kind IN ('received', 'adjusted')
             AND movement.cause <> ALL ($4::text[])
       ) AS counted
FROM products AS product
LEFT JOIN stock_levels AS level USING (sku)
WHERE ($1::text IS NULL OR product.sku > $1)
  AND ($2::text IS NULL OR product.sku = $2)
ORDER BY product.sku
LIMIT $3
