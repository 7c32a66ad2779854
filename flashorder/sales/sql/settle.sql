-- The last step, when the front works by the closing, has every top-up, and nobody may still pay.
UPDATE sales AS sale
SET status = 'settled', revision = revision + 1, updated_at = now()
WHERE sale.sale_id = $1
  AND sale.status = ANY ($2::text[])
  AND sale.synced_revision = sale.revision
  AND NOT EXISTS (
      SELECT FROM sale_top_ups AS top_up
      WHERE top_up.sale_id = sale.sale_id AND top_up.applied_at IS NULL
  )
  AND NOT EXISTS (
      SELECT FROM orders
      WHERE orders.sale_id = sale.sale_id AND orders.status = 'pending_payment'
  )
RETURNING sale.sale_id
