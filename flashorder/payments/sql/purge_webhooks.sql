-- Webhooks older than $1 seconds, $2 at most: by then a provider has long stopped repeating them.
DELETE FROM payment_webhooks
WHERE (provider, event_id) IN (
    SELECT provider, event_id FROM payment_webhooks
    WHERE received_at < now() - make_interval(secs => $1)
    ORDER BY received_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED)
