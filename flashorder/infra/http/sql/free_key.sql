-- Give the lease ($3) back: nothing happened that must not happen twice.
DELETE FROM idempotency_keys
WHERE caller_id = $1 AND key = $2 AND locked_until = $3 AND status_code IS NULL
