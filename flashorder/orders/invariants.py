"""What must always hold of orders; checked by ``flashorder verify``."""

from __future__ import annotations

from flashorder.infra.postgres.invariants import Invariant
from flashorder.orders.model import ORDER, STEPS

_STATE_OF = ", ".join(f"('{event}', '{status}')" for event, status in STEPS.items())
_PERMITTED = ", ".join(f"('{source}', '{target}')" for source, target in ORDER.pairs())
_STEPS = f"""
    WITH state_of (type, status) AS (VALUES {_STATE_OF}),
    steps AS (
        SELECT event.order_id, event.version, state_of.status,
               lag(state_of.status) OVER by_order AS before,
               lead(event.version) OVER by_order IS NULL AS last
        FROM order_events AS event
        JOIN state_of USING (type)
        WINDOW by_order AS (PARTITION BY event.order_id ORDER BY event.version)
    )
"""  # noqa: S608 - made of the machine's own constants

INVARIANTS = [
    Invariant(
        "order_timeline_is_contiguous",
        "the events of an order are numbered from 1 to its version without a gap",
        """
        SELECT o.order_id, o.version, count(e.version) AS events, max(e.version) AS last
        FROM orders AS o
        LEFT JOIN order_events AS e USING (order_id)
        GROUP BY o.order_id, o.version
        HAVING count(e.version) <> o.version
            OR max(e.version) IS DISTINCT FROM o.version
            OR min(e.version) IS DISTINCT FROM 1
        """,
    ),
    Invariant(
        "order_timeline_is_a_path",
        "each step of a timeline is one that the order's machine permits, from the first state on",
        f"""
        {_STEPS}
        SELECT steps.order_id, steps.version, steps.before, steps.status
        FROM steps
        LEFT JOIN (VALUES {_PERMITTED}) AS permitted (source, target)
          ON permitted.source = steps.before AND permitted.target = steps.status
        WHERE (steps.before IS NULL AND steps.status <> '{ORDER.initial}')
           OR (steps.before IS NOT NULL AND permitted.source IS NULL)
        """,  # noqa: S608
    ),
    Invariant(
        "order_status_is_the_last_step",
        "the status of an order is the state that its timeline leads to",
        f"""
        {_STEPS}
        SELECT o.order_id, o.status, steps.status AS last_step
        FROM orders AS o
        LEFT JOIN steps ON steps.order_id = o.order_id AND steps.last
        WHERE steps.status IS DISTINCT FROM o.status
        """,  # noqa: S608
    ),
    Invariant(
        "order_events_have_an_order",
        "no event and no line stands without its order",
        """
        SELECT child.order_id
        FROM (
            SELECT order_id FROM order_events
            UNION
            SELECT order_id FROM order_lines
        ) AS child
        WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_id = child.order_id)
        """,
    ),
    Invariant(
        "order_total_is_the_sum_of_its_lines",
        "what is to be paid is what the lines add up to",
        """
        SELECT o.order_id, o.total_amount, sum(l.total_amount) AS lines
        FROM orders AS o
        LEFT JOIN order_lines AS l USING (order_id)
        GROUP BY o.order_id, o.total_amount
        HAVING sum(l.total_amount) IS DISTINCT FROM o.total_amount
        """,
    ),
    Invariant(
        "committed_units_are_those_of_living_orders",
        "a sale item promises exactly the units of its orders that are not cancelled",
        """
        SELECT item.sale_id, item.sku, item.committed, coalesce(held.units, 0) AS units
        FROM sale_items AS item
        FULL JOIN (
            SELECT o.sale_id, l.sku, sum(l.quantity) AS units
            FROM orders AS o
            JOIN order_lines AS l USING (order_id)
            WHERE o.status <> 'cancelled' AND o.sale_id IS NOT NULL
            GROUP BY o.sale_id, l.sku
        ) AS held USING (sale_id, sku)
        WHERE item.committed IS DISTINCT FROM coalesce(held.units, 0)
        """,
    ),
    Invariant(
        "paid_orders_stand_on_captured_money",
        "an order that is paid or further has a captured payment of its whole total",
        """
        SELECT o.order_id, o.status
        FROM orders AS o
        WHERE o.status IN ('paid', 'awaiting_shipment', 'shipped', 'completed')
          AND NOT EXISTS (
              SELECT FROM payments AS p
              WHERE p.order_id = o.order_id
                AND p.status = 'captured'
                AND p.amount = o.total_amount
                AND p.currency = o.currency
          )
        """,
    ),
    Invariant(
        "shipped_orders_have_a_parcel",
        "an order that is shipped or completed has a shipment that left the house",
        """
        SELECT o.order_id, o.status
        FROM orders AS o
        WHERE o.status IN ('shipped', 'completed')
          AND NOT EXISTS (
              SELECT FROM shipments AS s
              WHERE s.order_id = o.order_id AND s.status IN ('shipped', 'delivered')
          )
        """,
    ),
    Invariant(
        "buyers_stay_within_the_limit",
        "no buyer has more units of an SKU in living orders of a sale than the sale allows",
        """
        SELECT o.sale_id, o.buyer_id, l.sku, sum(l.quantity) AS units, item.per_buyer_limit
        FROM orders AS o
        JOIN order_lines AS l USING (order_id)
        JOIN sale_items AS item ON item.sale_id = o.sale_id AND item.sku = l.sku
        WHERE o.status <> 'cancelled'
        GROUP BY o.sale_id, o.buyer_id, l.sku, item.per_buyer_limit
        HAVING sum(l.quantity) > item.per_buyer_limit
        """,
    ),
    Invariant(
        "orders_cost_what_the_sale_promised",
        "a line of a sale's order has the sale item's price, and the order the sale's currency",
        # No statement changes the price of an item once its sale was written.
        """
        SELECT o.order_id, l.sku, l.unit_price_amount, item.unit_price_amount AS promised,
               o.currency
        FROM orders AS o
        JOIN order_lines AS l USING (order_id)
        LEFT JOIN sale_items AS item ON item.sale_id = o.sale_id AND item.sku = l.sku
        LEFT JOIN sales AS sale ON sale.sale_id = o.sale_id
        WHERE o.sale_id IS NOT NULL
          AND (l.unit_price_amount, o.currency)
              IS DISTINCT FROM (item.unit_price_amount, sale.currency)
        """,
    ),
    Invariant(
        "standing_orders_keep_their_money",
        "one payment keeps an order that is paid or further, unless an operator gave it back",
        """
        SELECT o.order_id, o.status
        FROM orders AS o
        WHERE o.status IN ('paid', 'awaiting_shipment', 'shipped', 'completed')
          AND NOT EXISTS (
              SELECT FROM payments AS p
              WHERE p.order_id = o.order_id
                AND (p.keeps_order OR EXISTS (
                    SELECT FROM refunds AS r
                    WHERE r.payment_id = p.payment_id AND r.requested_by IS NOT NULL))
          )
        """,
    ),
]
