-- A promise of units, once by its id.
INSERT INTO sale_top_ups (top_up_id, sale_id, sku, quantity, cause, requested_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (top_up_id) DO NOTHING
RETURNING top_up_id
