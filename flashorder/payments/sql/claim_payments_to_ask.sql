-- Open payments whose provider ($1) has been silent for longer than $2 seconds, or that are to be
-- closed. The claim moves the next question on (longer each time, up to threefold), so a crash
-- loses nothing and no second worker asks the same.
UPDATE payments SET
    asked = asked + 1,
    ask_at = now() + make_interval(secs => $2 * least(asked + 1, 3))
WHERE payment_id IN (
    SELECT payment_id FROM payments
    WHERE provider = $1
      AND status IN ('pending', 'requires_action', 'authorized')
      AND ask_at <= now()
      AND (close_requested_at IS NOT NULL
           OR coalesce(last_heard_at, created_at) <= now() - make_interval(secs => $2))
    ORDER BY ask_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED)
RETURNING *, close_requested_at IS NOT NULL OR EXISTS (
    SELECT FROM orders
    WHERE orders.order_id = payments.order_id AND orders.status = 'cancelled'
) OR EXISTS (
    SELECT FROM payments other WHERE other.order_id = payments.order_id AND other.keeps_order
) AS unwanted
