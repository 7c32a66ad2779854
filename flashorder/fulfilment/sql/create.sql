-- A pending shipment with its lines for an order that awaits one, once: the index on live shipments
-- refuses a second. $1 shipment id, $2 order id.
WITH made AS (
    INSERT INTO shipments (shipment_id, order_id, ship_to)
    SELECT $1, order_id, ship_to FROM orders WHERE order_id = $2 AND status = 'awaiting_shipment'
    ON CONFLICT (order_id) WHERE status <> 'cancelled' DO NOTHING
    RETURNING shipment_id, order_id, version
), lines AS (
    INSERT INTO shipment_lines (shipment_id, line_no, sku, quantity)
    SELECT made.shipment_id, line_no, sku, quantity FROM made JOIN order_lines USING (order_id)
)
INSERT INTO shipment_events (shipment_id, version, type, actor)
SELECT shipment_id, version, 'pending', 'order' FROM made
RETURNING shipment_id
