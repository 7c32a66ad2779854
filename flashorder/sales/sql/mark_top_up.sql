-- The front of this generation ($2) has it.
UPDATE sale_top_ups AS top_up
SET applied_at = now()
FROM sales AS sale
WHERE top_up.top_up_id = $1
  AND top_up.applied_at IS NULL
  AND sale.sale_id = top_up.sale_id
  AND sale.generation = $2
