-- A kept webhook has been applied (or was found to say nothing new).
UPDATE payment_webhooks SET applied_at = now(), outcome = $3
WHERE provider = $1 AND event_id = $2 AND applied_at IS NULL
