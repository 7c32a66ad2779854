-- One step of the refund machine, guarded by the states that $2 may be entered from.
UPDATE refunds SET
    status = $2,
    provider_reference = coalesce(provider_reference, $4),
    failure_code = CASE WHEN $2 = 'failed' THEN $5 END,
    closed_at = now(),
    last_heard_at = now(),
    updated_at = now()
WHERE refund_id = $1 AND status = ANY($3)
RETURNING *
