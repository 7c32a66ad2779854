-- The provider has said nothing new; but it has spoken, and may have named its reference.
UPDATE payments SET
    last_heard_at = now(),
    missed = 0,
    provider_reference = coalesce(provider_reference, $2),
    action = coalesce(action, $3)
WHERE payment_id = $1
RETURNING *
