-- The work of a key goes on: its lease, which ends at one of $3, ends at $4. No row: it ran out and
-- is somebody else's, or there is an answer.
UPDATE idempotency_keys
SET locked_until = $4
WHERE caller_id = $1 AND key = $2 AND locked_until = ANY ($3::timestamptz[])
  AND status_code IS NULL
RETURNING locked_until
