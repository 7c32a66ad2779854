-- Old webhooks, applied or for parcels that never came to be. $1 age in seconds, $2 how many at most.
DELETE FROM carrier_webhooks
WHERE (carrier, event_id) IN (
    SELECT carrier, event_id FROM carrier_webhooks
    WHERE received_at < now() - make_interval(secs => $1)
    ORDER BY received_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
