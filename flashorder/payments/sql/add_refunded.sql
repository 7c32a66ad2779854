-- Count a refund ($2 > 0), or take a failed one out again ($2 < 0). A payment that is refunded as a
-- whole keeps no order any more.
UPDATE payments SET
    refunded_amount = refunded_amount + $2,
    keeps_order = keeps_order AND refunded_amount + $2 < amount,
    version = version + 1,
    updated_at = now()
WHERE payment_id = $1 AND status = 'captured' AND refunded_amount + $2 BETWEEN 0 AND amount
RETURNING *
