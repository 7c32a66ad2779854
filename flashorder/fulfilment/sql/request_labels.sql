-- The same for many packed shipments that have rested for a while, for the autopilot; the asking is
-- left to the job that does labels. $1 statuses to leave by shipping, $2 carrier, $3 rest in
-- seconds, $4 refusals at most, $5 how many at most, $6 grams of a unit of unknown weight.
WITH ready AS (
    SELECT shipment_id, orders.order_id, orders.ship_to
    FROM shipments JOIN orders USING (order_id)
    WHERE shipments.status = ANY($1::text[])
        AND carrier IS NULL
        AND label_refusals < $4
        AND shipments.updated_at <= now() - make_interval(secs => $3)
        AND orders.status = 'awaiting_shipment'
    ORDER BY shipments.updated_at
    LIMIT $5
    FOR NO KEY UPDATE OF orders SKIP LOCKED
), weighed AS (
    SELECT shipment_id, jsonb_build_array(jsonb_build_object('weight_grams',
        greatest(1, sum(quantity * coalesce(weight_grams, $6::int)::bigint)))) AS parcels
    FROM ready JOIN shipment_lines USING (shipment_id) LEFT JOIN products USING (sku)
    GROUP BY shipment_id
)
UPDATE shipments
SET carrier = $2,
    parcels = weighed.parcels,
    ship_to = ready.ship_to,
    label_due_at = now(),
    updated_at = now()
FROM ready JOIN weighed USING (shipment_id)
WHERE shipments.shipment_id = ready.shipment_id
    AND status = ANY($1::text[])
    AND carrier IS NULL
RETURNING shipments.shipment_id
