-- Orders of a sale ($1) behind the last one seen ($2), at most $3: what the front should remember of
-- each purchase. All pages together are one pass of the primary key; coalesce keeps the planner from
-- taking the sale for a small one and sorting the whole table for each page.
SELECT orders.order_id, orders.buyer_id, orders.fingerprint, orders.hold,
       orders.released_at IS NULL AS held,
       round(extract(epoch FROM orders.payment_due_at) * 1000)::bigint AS due_ms,
       line.sku, line.quantity, line.unit_price_amount
FROM orders
LEFT JOIN LATERAL (
    SELECT sku, quantity, unit_price_amount
    FROM order_lines
    WHERE order_lines.order_id = orders.order_id AND line_no = 1
    LIMIT 1
) AS line ON true
WHERE coalesce(orders.sale_id = $1, false) AND orders.order_id > $2
ORDER BY orders.order_id
LIMIT $3
