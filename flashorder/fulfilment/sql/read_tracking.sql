-- What the carrier said of a shipment, by its own clock. $1 shipment id.
SELECT event_id, tracking_status AS status, occurred_at, detail, location
FROM tracking_events WHERE shipment_id = $1 ORDER BY occurred_at, event_id
