-- Refunds that the provider ($1) has not confirmed; asking again is safe, the key is the refund id.
-- The claim moves the next try on (by $2 seconds, longer each time, up to sixfold).
UPDATE refunds SET
    asked = refunds.asked + 1,
    ask_at = now() + make_interval(secs => $2 * least(refunds.asked + 1, 6))
FROM payments
WHERE payments.payment_id = refunds.payment_id AND refund_id IN (
    SELECT refund_id FROM refunds JOIN payments USING (payment_id)
    WHERE refunds.status = 'pending' AND refunds.ask_at <= now() AND payments.provider = $1
    ORDER BY refunds.ask_at
    LIMIT $3
    FOR UPDATE OF refunds SKIP LOCKED)
RETURNING refunds.*
