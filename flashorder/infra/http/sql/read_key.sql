-- What is known of a key that could not be claimed.
SELECT fingerprint, status_code, headers, body
FROM idempotency_keys
WHERE caller_id = $1 AND key = $2
