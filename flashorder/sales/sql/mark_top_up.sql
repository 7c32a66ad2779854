-- The front has it.
UPDATE sale_top_ups SET applied_at = now() WHERE top_up_id = $1 AND applied_at IS NULL
