-- packed → shipped, if the order still awaits it: the one compare-and-set of ship against cancel.
-- Locks the order's row, then the shipment's. $1 shipment id, $2 order id, $3 statuses to leave,
-- $4 carrier, $5 tracking number, $6 label reference, $7 label URL, $8 actor,
-- $9 seconds until the carrier is asked if it stays silent.
WITH ready AS (
    SELECT order_id FROM orders
    WHERE order_id = $2 AND status = 'awaiting_shipment'
    FOR NO KEY UPDATE
), shipped AS (
    UPDATE shipments
    SET status = 'shipped',
        shipped_at = now(),
        tracking_number = $5,
        label_reference = $6,
        label_url = $7,
        label_due_at = NULL,
        tracking_due_at = now() + make_interval(secs => $9),
        version = version + 1,
        updated_at = now()
    FROM ready
    WHERE shipment_id = $1
        AND shipments.order_id = ready.order_id
        AND status = ANY($3::text[])
        AND carrier = $4
    RETURNING shipments.*
), noted AS (
    INSERT INTO shipment_events (shipment_id, version, type, actor, data)
    SELECT shipment_id, version, 'shipped', $8,
        jsonb_build_object('carrier', carrier, 'tracking_number', tracking_number)
    FROM shipped
)
SELECT * FROM shipped
