-- Nobody waits for the top-ups of a sale that was settled without the front.
UPDATE sale_top_ups SET applied_at = now() WHERE sale_id = $1 AND applied_at IS NULL
