-- The corrections of one run.
SELECT correction_id, reconciliation_id, sale_id, sku, generation, quantity, outcome
FROM stock_corrections
WHERE reconciliation_id = $1
ORDER BY sale_id, sku
