-- Whether a shipment of the order has left the house; the order's row is locked before.
-- $1 order id.
SELECT EXISTS (
    SELECT FROM shipments WHERE order_id = $1 AND status IN ('shipped', 'delivered')
)
