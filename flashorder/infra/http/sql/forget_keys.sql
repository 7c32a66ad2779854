-- Forget what is older than the retention ($1, seconds), a bounded number ($2) at a time.
DELETE FROM idempotency_keys
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM idempotency_keys
    WHERE created_at < now() - make_interval(secs => $1) AND locked_until < now()
    ORDER BY created_at
    LIMIT $2
))
