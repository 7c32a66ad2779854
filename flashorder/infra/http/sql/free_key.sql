-- Give the lease (it ends at one of $3) back: nothing happened that must not happen twice.
DELETE FROM idempotency_keys
WHERE caller_id = $1 AND key = $2 AND locked_until = ANY ($3::timestamptz[])
  AND status_code IS NULL
