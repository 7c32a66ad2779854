-- Every handler has done its part. $1 event ids.
UPDATE outbox
SET processed_at = now(),
    last_error = NULL
WHERE event_id = ANY($1::bigint[])
  AND processed_at IS NULL
