-- Units of a sale ($1) that buyers ($2) have of SKUs ($3), a pair each, by their orders and dead
-- letters that were not released; with the sale's limit, null for an SKU that it does not have.
SELECT claim.buyer_id, claim.sku, item.per_buyer_limit,
       coalesce((
           SELECT sum(line.quantity)
           FROM orders
           JOIN order_lines AS line USING (order_id)
           WHERE orders.buyer_id = claim.buyer_id
             AND orders.sale_id = $1
             AND orders.released_at IS NULL
             AND line.sku = claim.sku
       ), 0) + coalesce((
           SELECT sum(aside.quantity)
           FROM dead_letters AS aside
           WHERE aside.sale_id = $1
             AND aside.buyer_id = claim.buyer_id
             AND aside.sku = claim.sku
             AND aside.status <> 'retried'
             AND aside.released_at IS NULL
             AND NOT EXISTS (SELECT FROM orders WHERE orders.order_id = aside.order_id)
       ), 0) AS units
FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS claim (buyer_id, sku, position)
LEFT JOIN sale_items AS item ON item.sale_id = $1 AND item.sku = claim.sku
ORDER BY claim.position
