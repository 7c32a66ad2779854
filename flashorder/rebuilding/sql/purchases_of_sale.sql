-- Orders of a sale ($1) as the front should remember them, behind an id ($2), at most $3. All pages
-- together are one pass of the primary key; coalesce keeps the planner from taking the sale for a
-- small one and sorting the whole table for each page. A fingerprint that was not kept replays for
-- nobody.
SELECT o.order_id, o.buyer_id, o.hold, o.released_at IS NULL AS held,
       coalesce(o.fingerprint, substring(uuid_send(o.buyer_id) FROM 13) || '\x00000000'::bytea)
           AS fingerprint,
       line.sku, line.quantity, line.unit_price_amount,
       (extract(epoch FROM coalesce(o.payment_due_at, o.accepted_at)) * 1000)::bigint AS due_ms
FROM orders AS o
CROSS JOIN LATERAL (
    SELECT sku, quantity, unit_price_amount
    FROM order_lines
    WHERE order_lines.order_id = o.order_id AND line_no = 1
    LIMIT 1
) AS line
WHERE coalesce(o.sale_id = $1, false) AND o.order_id > $2
ORDER BY o.order_id
LIMIT $3
