-- Keep the first answer; only the holder of the lease (it ends at one of $3) may, so a taken-over
-- call changes nothing.
UPDATE idempotency_keys
SET status_code = $4, headers = $5, body = $6
WHERE caller_id = $1 AND key = $2 AND locked_until = ANY ($3::timestamptz[])
  AND status_code IS NULL
