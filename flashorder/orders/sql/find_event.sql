-- The newest event of a type that carries what is asked for: how a redelivery is told.
-- $1 order id, $2 type, $3 data that it contains.
SELECT data
FROM order_events
WHERE order_id = $1
  AND type = $2
  AND data @> $3::jsonb
ORDER BY version DESC
LIMIT 1
