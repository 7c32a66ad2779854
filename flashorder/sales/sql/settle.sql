-- The last step, when the front works by the closing and has every top-up, or ($3) has nothing of
-- the sale at all; and when nobody may still pay, and no dead letter waits for a decision.
UPDATE sales AS sale
SET status = 'settled', revision = revision + 1, updated_at = now()
WHERE sale.sale_id = $1
  AND sale.status = ANY ($2::text[])
  AND sale.rebuilding_since IS NULL
  AND ($3 OR sale.synced_revision = sale.revision)
  AND ($3 OR NOT EXISTS (
      SELECT FROM sale_top_ups AS top_up
      WHERE top_up.sale_id = sale.sale_id AND top_up.applied_at IS NULL
  ))
  AND NOT EXISTS (
      SELECT FROM orders
      WHERE orders.sale_id = sale.sale_id AND orders.status = 'pending_payment'
  )
  AND NOT EXISTS (
      SELECT FROM dead_letters AS letter
      WHERE letter.sale_id = sale.sale_id AND letter.status = 'held'
  )
RETURNING sale.sale_id
