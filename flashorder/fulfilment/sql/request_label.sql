-- Write down what is about to be asked of which carrier, so that a second try after a crash asks for
-- the same label. Locks the order's row, then the shipment's. No row: the order does not await a
-- shipment, the shipment is elsewhere, or another carrier was asked before.
-- $1 shipment id, $2 order id, $3 statuses to leave by shipping, $4 carrier, $5 parcels (null: one,
-- as heavy as the goods), $6 lease of the asking in seconds, $7 grams of a unit of unknown weight.
WITH ready AS (
    SELECT order_id, ship_to FROM orders
    WHERE order_id = $2 AND status = 'awaiting_shipment'
    FOR NO KEY UPDATE
), weighed AS (
    SELECT jsonb_build_array(jsonb_build_object('weight_grams',
        greatest(1, sum(quantity * coalesce(weight_grams, $7::int)::bigint)))) AS parcels
    FROM shipment_lines LEFT JOIN products USING (sku)
    WHERE shipment_id = $1
)
UPDATE shipments
SET carrier = $4,
    parcels = CASE WHEN carrier IS NULL THEN coalesce($5, weighed.parcels)
        ELSE shipments.parcels END,
    ship_to = CASE WHEN carrier IS NULL THEN ready.ship_to ELSE shipments.ship_to END,
    label_due_at = now() + make_interval(secs => $6),
    label_attempts = label_attempts + 1,
    updated_at = now()
FROM ready, weighed
WHERE shipment_id = $1
    AND shipments.order_id = ready.order_id
    AND status = ANY($3::text[])
    AND (carrier IS NULL OR carrier = $4)
RETURNING shipments.*
