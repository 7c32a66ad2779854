-- The label came, but the shipment had been cancelled meanwhile: take it back at once, and know the
-- parcel's number. $1 shipment id, $2 carrier, $3 tracking number, $4 label reference, $5 label URL.
UPDATE shipments
SET tracking_number = $3,
    label_reference = $4,
    label_url = $5,
    label_cancel_due_at = now(),
    updated_at = now()
WHERE shipment_id = $1 AND carrier = $2 AND status = 'cancelled'
