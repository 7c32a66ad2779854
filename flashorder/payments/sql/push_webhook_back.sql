-- A kept webhook could not be applied: it is tried again after a minute, two, four, up to an hour.
UPDATE payment_webhooks SET
    failures = failures + 1,
    apply_at = now() + make_interval(mins => least(2 ^ least(failures, 6), 60)::integer)
WHERE provider = $1 AND event_id = $2 AND applied_at IS NULL
