-- The carrier refused: the choice of carrier and parcels is open again, and the timeline says why.
-- $1 shipment id, $2 carrier, $3 what the carrier said.
WITH dropped AS (
    UPDATE shipments
    SET carrier = NULL,
        parcels = NULL,
        label_due_at = NULL,
        label_attempts = 0,
        label_refusals = label_refusals + 1,
        version = version + 1,
        updated_at = now()
    WHERE shipment_id = $1 AND carrier = $2 AND label_due_at IS NOT NULL
    RETURNING shipment_id, version
)
INSERT INTO shipment_events (shipment_id, version, type, actor, data)
SELECT shipment_id, version, 'label_refused', 'carrier',
    jsonb_build_object('carrier', $2::text, 'detail', $3::text)
FROM dropped
