-- Sales with their items; what came by top-ups is told apart, because the front gets it apart.
SELECT sale.sale_id, sale.title, sale.status, sale.currency, sale.starts_at, sale.ends_at,
       sale.payment_window_seconds, sale.generation, sale.revision, sale.synced_revision,
       sale.created_at, sale.updated_at, sale.rebuilding_since,
       (
           SELECT jsonb_agg(
                      jsonb_build_object(
                          'sku', item.sku,
                          'name', product.name,
                          'unit_price_amount', item.unit_price_amount,
                          'list_price_amount', product.unit_price_amount,
                          'per_buyer_limit', item.per_buyer_limit,
                          'allotted', item.allotted,
                          'topped_up', coalesce((
                              SELECT sum(top_up.quantity)
                              FROM sale_top_ups AS top_up
                              WHERE top_up.sale_id = item.sale_id AND top_up.sku = item.sku
                          ), 0),
                          'committed', item.committed
                      ) ORDER BY item.sku
                  )
           FROM sale_items AS item
           JOIN products AS product USING (sku)
           WHERE item.sale_id = sale.sale_id
       ) AS items
FROM sales AS sale
WHERE sale.sale_id = ANY ($1::uuid[])
ORDER BY sale.sale_id DESC
