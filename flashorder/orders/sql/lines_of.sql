-- What the orders are of; $1 order ids.
SELECT order_id, sku, quantity
FROM order_lines
WHERE order_id = ANY($1::uuid[])
ORDER BY order_id, line_no
