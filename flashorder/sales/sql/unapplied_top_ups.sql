-- Top-ups that the front may not have: of one sale, or of every one that it knows.
SELECT top_up.top_up_id, top_up.sale_id, top_up.sku, top_up.quantity, top_up.applied_at,
       sale.generation
FROM sale_top_ups AS top_up
JOIN sales AS sale USING (sale_id)
WHERE top_up.applied_at IS NULL
  AND sale.status <> 'settled'
  AND (top_up.sale_id = $1 OR ($1::uuid IS NULL AND sale.synced_revision > 0))
ORDER BY top_up.requested_at
LIMIT $2
