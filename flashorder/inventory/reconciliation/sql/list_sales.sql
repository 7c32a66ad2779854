-- The sales that the front should know, and the promise of each item. $1: one sale, or null for
-- all. Read again inside the snapshot, so that a sale settled meanwhile drops out.
SELECT sale_id, sku, generation, allotted
FROM sales
JOIN sale_items USING (sale_id)
WHERE status IN ('scheduled', 'open', 'paused', 'closed')
  AND synced_revision > 0
  AND ($1::uuid IS NULL OR sale_id = $1)
ORDER BY sale_id, sku
