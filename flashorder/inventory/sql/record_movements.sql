-- Append to the ledger; a movement that is there already is left alone. The trigger moves the
-- levels and refuses what is not there.
INSERT INTO stock_movements (movement_id, sku, kind, quantity, cause, reference, actor)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[])
ON CONFLICT (movement_id) DO NOTHING
RETURNING movement_id
