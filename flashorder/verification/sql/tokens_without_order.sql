-- Tokens of the front ($2) that neither an order of the sale ($1) nor a dead letter stands for:
-- a 202 that came to nothing.
SELECT token
FROM unnest($2::bytea[]) AS token
WHERE NOT EXISTS (
    SELECT FROM orders
    WHERE sale_id = $1 AND substring(uuid_send(order_id) FROM 7) = token)
  AND NOT EXISTS (
    SELECT FROM dead_letters
    WHERE sale_id = $1 AND substring(uuid_send(order_id) FROM 7) = token)
