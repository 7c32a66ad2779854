-- One step of the payment machine, guarded by the states that $2 may be entered from. The first
-- capture keeps the order; a second one does not, nor does one of another amount ($8) or currency
-- ($9) than was asked for: it is booked as it was taken (runs under lock_payments_of_order).
UPDATE payments SET
    status = $2,
    provider_reference = coalesce(provider_reference, $4),
    action = coalesce($5, action),
    failure_code = CASE WHEN $2 = 'failed' THEN $6 END,
    captured_at = CASE WHEN $2 = 'captured' THEN now() END,
    closed_at = CASE WHEN $2 IN ('failed', 'voided', 'expired') THEN now() END,
    amount = CASE WHEN $2 = 'captured' THEN $8 ELSE amount END,
    currency = CASE WHEN $2 = 'captured' THEN $9 ELSE currency END,
    keeps_order = $2 = 'captured' AND amount = $8 AND currency = $9 AND NOT EXISTS (
        SELECT FROM payments other WHERE other.order_id = payments.order_id AND other.keeps_order),
    last_heard_at = now(),
    missed = 0,
    ask_at = now() + make_interval(secs => $7),
    asked = 0,
    version = version + 1,
    updated_at = now()
WHERE payment_id = $1 AND status = ANY($3)
RETURNING *
