-- The order does not want these payments any more: the worker voids them at the provider. Runs
-- under lock_payments_of_order, so that nobody locks several of them in another order.
UPDATE payments SET close_requested_at = now(), ask_at = now(), updated_at = now()
WHERE order_id = $1 AND status IN ('pending', 'requires_action', 'authorized')
  AND close_requested_at IS NULL
  AND ($2::uuid IS NULL OR payment_id = $2)
