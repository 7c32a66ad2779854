-- The provider has the refund and has not finished it.
UPDATE refunds SET
    last_heard_at = now(), provider_reference = coalesce(provider_reference, $2)
WHERE refund_id = $1
RETURNING *
