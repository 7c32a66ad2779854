-- What has not shipped of a cancelled order is cancelled. A label is taken back once nobody can be
-- asking for it any more, which is when the lease of the asking ends. Old news of an order that
-- was paid after all changes nothing.
-- $1 order id, $2 statuses to leave, $3 reason.
WITH cancelled AS (
    UPDATE shipments
    SET status = 'cancelled',
        cancelled_at = now(),
        cancel_reason = $3,
        label_cancel_due_at = CASE WHEN carrier IS NOT NULL
            THEN greatest(now(), label_due_at) END,
        label_due_at = NULL,
        version = version + 1,
        updated_at = now()
    WHERE order_id = $1
        AND status = ANY($2::text[])
        AND EXISTS (SELECT FROM orders WHERE order_id = $1 AND status = 'cancelled')
    RETURNING shipment_id, version
)
INSERT INTO shipment_events (shipment_id, version, type, actor, data)
SELECT shipment_id, version, 'cancelled', 'order', jsonb_build_object('reason', $3::text)
FROM cancelled
RETURNING shipment_id
