-- One order, held still until the transaction ends. Child rows of it are read by a later statement,
-- which sees what was committed while this one waited. $1 order id.
SELECT order_id, status, cancel_reason, buyer_id, sale_id, hold, currency, total_amount, version,
       released_at, address_id, sale_id IS NOT NULL AS from_sale
FROM orders
WHERE order_id = $1
FOR NO KEY UPDATE
