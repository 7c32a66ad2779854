-- Of the front's tokens ($2) those that no order of the sale ($1) stands for, with the dead letter
-- that does; without one, a 202 came to nothing. Orders are found by the number ($3) that goes with
-- each token. OFFSET 0 keeps it a look-up by that index: a join may read the whole table a page.
SELECT DISTINCT ON (token)
       token, aside.order_id, aside.buyer_id, aside.sku, aside.quantity,
       aside.released_at IS NULL AS held
FROM unnest($2::bytea[], $3::text[]) AS kept (token, order_number)
LEFT JOIN dead_letters AS aside
       ON aside.sale_id = $1 AND substring(uuid_send(aside.order_id) FROM 7) = token
WHERE NOT EXISTS (
    SELECT FROM orders
    WHERE orders.order_number = kept.order_number
      AND sale_id = $1 AND substring(uuid_send(order_id) FROM 7) = token
    OFFSET 0)
ORDER BY token, aside.dead_letter_id
