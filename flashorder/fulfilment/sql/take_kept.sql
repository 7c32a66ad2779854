-- Everything kept for a parcel, marked as applied. The caller holds the shipment's row.
-- $1 carrier, $2 tracking number.
WITH taken AS (
    UPDATE carrier_webhooks SET applied_at = now()
    WHERE carrier = $1 AND tracking_number = $2 AND applied_at IS NULL
    RETURNING event_id, tracking_number, tracking_status, occurred_at, detail, location
)
SELECT * FROM taken ORDER BY occurred_at, event_id
