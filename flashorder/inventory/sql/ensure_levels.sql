-- A row to lock for each SKU, before its first movement.
INSERT INTO stock_levels (sku)
SELECT sku FROM unnest($1::text[]) AS wanted (sku) ORDER BY sku
ON CONFLICT (sku) DO NOTHING
