-- What the front said to a correction, once. $1 id, $2 outcome.
UPDATE stock_corrections
SET outcome = $2,
    applied_at = CASE WHEN $2 = 'applied' THEN clock_timestamp() END
WHERE correction_id = $1 AND outcome IS NULL
