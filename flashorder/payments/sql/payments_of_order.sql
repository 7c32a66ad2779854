-- The attempts of one order, in order.
SELECT * FROM payments WHERE order_id = $1 ORDER BY attempt
