-- A refund that is to be made, once a request key (runs under lock_payments_of_order). $7: seconds
-- that the worker leaves it to the caller, or to the time. $8: which attempt it is.
INSERT INTO refunds (refund_id, payment_id, order_id, amount, currency, reason, request_key,
                     requested_by, ask_at, attempt)
SELECT $1, payment_id, order_id, $3, currency, $4, $5, $6, now() + make_interval(secs => $7), $8
FROM payments
WHERE payment_id = $2 AND status = 'captured' AND refunded_amount + $3 <= amount
ON CONFLICT (payment_id, request_key) DO NOTHING
RETURNING *
