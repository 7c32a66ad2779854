-- What is known of a key that could not be claimed.
SELECT fingerprint, status_code, headers, body,
       greatest(0, extract(epoch FROM locked_until - now()))::float8 AS locked_seconds
FROM idempotency_keys
WHERE caller_id = $1 AND key = $2
