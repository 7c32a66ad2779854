-- The carrier has answered about a label that was to be taken back.
-- $1 shipment id, $2 what became of it.
WITH closed AS (
    UPDATE shipments
    SET label_cancel_due_at = NULL, version = version + 1, updated_at = now()
    WHERE shipment_id = $1 AND label_cancel_due_at IS NOT NULL
    RETURNING shipment_id, version
)
INSERT INTO shipment_events (shipment_id, version, type, actor, data)
SELECT shipment_id, version, 'label_cancelled', 'carrier', jsonb_build_object('outcome', $2::text)
FROM closed
