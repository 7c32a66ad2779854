-- Whether the order of a shipment awaits it without an address, and no carrier was asked for a label.
-- $1 shipment id.
SELECT EXISTS (
    SELECT FROM shipments JOIN orders USING (order_id)
    WHERE shipment_id = $1
        AND shipments.carrier IS NULL
        AND orders.status = 'awaiting_shipment'
        AND orders.ship_to IS NULL
)
