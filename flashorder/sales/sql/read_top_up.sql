-- One top-up, with the generation that the front must be of.
SELECT top_up.top_up_id, top_up.sale_id, top_up.sku, top_up.quantity, top_up.applied_at,
       sale.generation
FROM sale_top_ups AS top_up
JOIN sales AS sale USING (sale_id)
WHERE top_up.top_up_id = $1
