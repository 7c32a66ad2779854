-- The first webhook that came before its payment or refund and whose subject is here by now.
SELECT provider, event_id, event FROM payment_webhooks kept
WHERE applied_at IS NULL AND apply_at <= now() AND (
    (refund_id IS NULL AND EXISTS (
        SELECT FROM payments
        WHERE payments.provider = kept.provider
          AND (payments.provider_reference = kept.payment_reference
               OR payments.payment_id = kept.payment_id AND (
                   payments.provider_reference IS NULL OR kept.payment_reference IS NULL))))
    OR EXISTS (
        SELECT FROM refunds JOIN payments USING (payment_id)
        WHERE refunds.refund_id = kept.refund_id AND payments.provider = kept.provider))
ORDER BY apply_at
LIMIT 1
FOR UPDATE SKIP LOCKED
