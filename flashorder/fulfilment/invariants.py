"""What must always hold between shipments and the rest; checked by ``flashorder verify``."""

from __future__ import annotations

from flashorder.infra.postgres.invariants import Invariant

INVARIANTS = [
    Invariant(
        "fulfilment.cancelled_orders_send_no_parcel",
        "no shipment of a cancelled order has left the house",
        """
        SELECT shipment_id, order_id FROM shipments JOIN orders USING (order_id)
        WHERE shipments.status IN ('shipped', 'delivered') AND orders.status = 'cancelled'
        """,
    ),
    Invariant(
        "fulfilment.parcels_go_where_the_order_says",
        "the address that a parcel left for is the one on its order",
        """
        SELECT shipment_id, order_id FROM shipments JOIN orders USING (order_id)
        WHERE shipments.status IN ('shipped', 'delivered')
            AND shipments.ship_to IS DISTINCT FROM orders.ship_to
        """,
    ),
    Invariant(
        "fulfilment.shipments_hold_what_was_ordered",
        "a shipment that is not cancelled has the lines of its order",
        """
        SELECT shipment_id, order_id FROM shipments
        WHERE status <> 'cancelled' AND EXISTS (
            SELECT FROM
                (SELECT line_no, sku, quantity FROM order_lines
                 WHERE order_lines.order_id = shipments.order_id) AS ordered
                FULL JOIN
                (SELECT line_no, sku, quantity FROM shipment_lines
                 WHERE shipment_lines.shipment_id = shipments.shipment_id) AS boxed
                USING (line_no, sku, quantity)
            WHERE ordered.* IS NULL OR boxed.* IS NULL)
        """,
    ),
    Invariant(
        "fulfilment.shipment_timeline_is_contiguous",
        "the timeline of a shipment has no gap and ends at its version",
        """
        SELECT shipment_id FROM shipments LEFT JOIN shipment_events USING (shipment_id)
        GROUP BY shipment_id, shipments.version
        HAVING count(shipment_events.version) <> shipments.version
            OR max(shipment_events.version) <> shipments.version
        """,
    ),
    Invariant(
        "fulfilment.tracking_is_the_furthest_heard",
        "a shipment is where the furthest of its tracking events says",
        """
        SELECT shipment_id FROM shipments
        WHERE tracking_status IS DISTINCT FROM (
            SELECT tracking_status FROM tracking_events
            WHERE tracking_events.shipment_id = shipments.shipment_id
                AND tracking_events.tracking_status <> 'exception'
            ORDER BY array_position(ARRAY['label_created', 'picked_up', 'in_transit',
                                          'out_for_delivery', 'delivered'], tracking_status) DESC
            LIMIT 1)
        """,
    ),
]
