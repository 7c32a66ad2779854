-- Keep a verified webhook; no row back: it was here before.
INSERT INTO payment_webhooks (provider, event_id, payload, event, payment_reference, payment_id,
                              refund_id)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (provider, event_id) DO NOTHING
RETURNING event_id
