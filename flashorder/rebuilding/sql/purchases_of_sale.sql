-- Orders of a sale ($1) as the front should remember them, behind a token ($2), at most $3: by the
-- index that makes a token unique. A fingerprint that was not kept replays for nobody.
SELECT o.order_id, o.buyer_id, o.hold, o.released_at IS NULL AS held,
       coalesce(o.fingerprint, substring(uuid_send(o.buyer_id) FROM 13) || '\x00000000'::bytea)
           AS fingerprint,
       line.sku, line.quantity, line.unit_price_amount,
       (extract(epoch FROM coalesce(o.payment_due_at, o.accepted_at)) * 1000)::bigint AS due_ms
FROM orders AS o
JOIN order_lines AS line ON line.order_id = o.order_id AND line.line_no = 1
WHERE o.sale_id = $1
  AND substring(uuid_send(o.order_id) FROM 7) > $2
ORDER BY substring(uuid_send(o.order_id) FROM 7)
LIMIT $3
