-- Orders of a sale ($1) by token, behind the last one seen ($2), at most $3: what the front should
-- remember of each purchase.
SELECT orders.order_id, orders.buyer_id, orders.fingerprint, orders.hold,
       orders.released_at IS NULL AS held,
       round(extract(epoch FROM orders.payment_due_at) * 1000)::bigint AS due_ms,
       line.sku, line.quantity, line.unit_price_amount
FROM orders
LEFT JOIN order_lines AS line ON line.order_id = orders.order_id AND line.line_no = 1
WHERE orders.sale_id = $1
  AND substring(uuid_send(orders.order_id) FROM 7) > $2
ORDER BY substring(uuid_send(orders.order_id) FROM 7)
LIMIT $3
