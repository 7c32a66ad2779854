-- Claim an idempotency key: the first caller inserts it; a later one takes it over only when the
-- lease ran out without an answer (the first one crashed) and the request is the same. No row:
-- somebody else holds it, or it is answered.
INSERT INTO idempotency_keys (caller_id, key, fingerprint, locked_until)
VALUES ($1, $2, $3, now() + make_interval(secs => $4))
ON CONFLICT (caller_id, key) DO UPDATE SET locked_until = EXCLUDED.locked_until
WHERE idempotency_keys.status_code IS NULL
  AND idempotency_keys.locked_until < now()
  AND idempotency_keys.fingerprint = EXCLUDED.fingerprint
RETURNING locked_until
