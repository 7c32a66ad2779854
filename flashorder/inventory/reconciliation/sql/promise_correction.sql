-- A correction of one item, unless it was promised before or the item was corrected, or promised
-- to be, since the run began: its reading would be out of date.
-- $1 id, $2 run, $3 sale, $4 sku, $5 generation, $6 units, $7 cause, $8 who.
INSERT INTO stock_corrections
    (correction_id, reconciliation_id, sale_id, sku, generation, quantity, cause, requested_by)
SELECT $1, run.reconciliation_id, $3, $4, $5, $6, $7, $8
FROM reconciliations AS run
WHERE run.reconciliation_id = $2
  AND NOT EXISTS (
    SELECT FROM stock_corrections AS other
    WHERE other.sale_id = $3 AND other.sku = $4 AND other.requested_at >= run.started_at)
ON CONFLICT (reconciliation_id, sale_id, sku) DO NOTHING
RETURNING correction_id
