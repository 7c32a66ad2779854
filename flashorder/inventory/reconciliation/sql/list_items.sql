-- The items of one run.
SELECT sale_id, sku, generation, verdict, available, sold, applied, unreleased, in_stream,
       dead_letters, allotted, drift
FROM reconciliation_items
WHERE reconciliation_id = $1
ORDER BY sale_id, sku
