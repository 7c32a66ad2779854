"""What must always hold of payments. Orders whose events are still waiting are given their time."""

from __future__ import annotations

from flashorder.infra.postgres.invariants import Invariant

_NO_EVENT_WAITS = """NOT EXISTS (
    SELECT FROM outbox WHERE outbox.key = payments.order_id AND outbox.processed_at IS NULL)"""

INVARIANTS: list[Invariant] = [
    Invariant(
        "payments_one_keeps_the_order",
        "at most one captured payment of an order is neither refunded nor on its way back",
        f"""
        SELECT order_id, count(*) AS captures FROM payments
        WHERE status = 'captured' AND refunded_amount < amount AND {_NO_EVENT_WAITS}
        GROUP BY order_id HAVING count(*) > 1
        """,  # noqa: S608 (a constant)
    ),
    Invariant(
        "refunds_within_capture",
        "what is refunded is what the refunds say, and not more than was captured",
        """
        SELECT payments.payment_id, payments.refunded_amount, sum(refunds.amount) AS refunds
        FROM payments LEFT JOIN refunds
            ON refunds.payment_id = payments.payment_id AND refunds.status <> 'failed'
        GROUP BY payments.payment_id
        HAVING coalesce(sum(refunds.amount), 0) <> payments.refunded_amount
            OR payments.refunded_amount > payments.amount
        """,
    ),
    Invariant(
        "cancelled_orders_keep_no_money",
        "a captured payment of a cancelled order is refunded, or its refund is pending",
        f"""
        SELECT payments.payment_id, payments.order_id FROM payments JOIN orders USING (order_id)
        WHERE orders.status = 'cancelled' AND payments.status = 'captured'
          AND payments.refunded_amount < payments.amount AND {_NO_EVENT_WAITS}
        """,  # noqa: S608 (a constant)
    ),
    Invariant(
        "captures_of_another_amount_go_back",
        "captured money that is not what its order costs is refunded, or its refund is pending",
        f"""
        SELECT payments.payment_id, payments.order_id FROM payments JOIN orders USING (order_id)
        WHERE payments.status = 'captured' AND payments.refunded_amount < payments.amount
          AND (payments.amount, payments.currency) <> (orders.total_amount, orders.currency)
          AND {_NO_EVENT_WAITS}
        """,  # noqa: S608 (a constant)
    ),
    Invariant(
        "captures_reach_their_order",
        "an order that a captured payment keeps does not wait to be paid",
        f"""
        SELECT payments.payment_id, payments.order_id FROM payments JOIN orders USING (order_id)
        WHERE orders.status = 'pending_payment' AND payments.keeps_order AND {_NO_EVENT_WAITS}
        """,  # noqa: S608 (a constant)
    ),
    Invariant(
        "payments_are_of_the_orders_buyer",
        "a payment has an order, and is its buyer's; it asks, and keeps it, in its currency",
        """
        SELECT payments.payment_id, payments.order_id
        FROM payments LEFT JOIN orders USING (order_id)
        WHERE payments.buyer_id IS DISTINCT FROM orders.buyer_id
           OR (payments.currency <> orders.currency
               AND (payments.keeps_order OR payments.status <> 'captured'))
        """,
    ),
    Invariant(
        "refunds_are_of_their_payment",
        "a refund names the order of its payment, and its currency",
        """
        SELECT refunds.refund_id, refunds.payment_id FROM refunds JOIN payments USING (payment_id)
        WHERE (refunds.order_id, refunds.currency) <> (payments.order_id, payments.currency)
        """,
    ),
    Invariant(
        "a_kept_order_has_money_left",
        "a payment that keeps its order is not refunded as a whole",
        """
        SELECT payment_id, order_id FROM payments
        WHERE keeps_order AND amount > 0 AND refunded_amount >= amount
        """,
    ),
]
