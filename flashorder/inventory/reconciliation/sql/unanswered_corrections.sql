-- Corrections that the front has not answered yet, oldest first.
SELECT correction_id, reconciliation_id, sale_id, sku, generation, quantity, outcome
FROM stock_corrections
WHERE outcome IS NULL
ORDER BY requested_at
LIMIT $1
