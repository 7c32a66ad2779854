-- The attempt that is still open at this provider; a unique index holds that there is at most one.
SELECT * FROM payments
WHERE order_id = $1 AND provider = $2 AND status IN ('pending', 'requires_action', 'authorized')
