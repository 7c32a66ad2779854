-- Closed sales ($1 seconds ago or more) that nobody may still pay for. In no order, so that those
-- that cannot be settled do not keep the others waiting.
SELECT sale.sale_id
FROM sales AS sale
WHERE sale.status = 'closed'
  AND sale.rebuilding_since IS NULL
  AND sale.updated_at <= now() - make_interval(secs => $1)
  AND NOT EXISTS (
      SELECT FROM orders
      WHERE orders.sale_id = sale.sale_id AND orders.status = 'pending_payment'
  )
ORDER BY random()
LIMIT $2
