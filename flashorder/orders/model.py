"""The states of an order, and what its child rows say of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from flashorder.kernel.events import Topic
from flashorder.kernel.machine import Machine


class OrderStatus(StrEnum):
    """pending_payment → paid → awaiting_shipment → shipped → completed; or cancelled."""

    PENDING_PAYMENT = "pending_payment"
    PAID = "paid"
    AWAITING_SHIPMENT = "awaiting_shipment"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


ORDER = Machine(
    name="order",
    initial=OrderStatus.PENDING_PAYMENT,
    transitions={
        OrderStatus.PENDING_PAYMENT: frozenset({OrderStatus.PAID, OrderStatus.CANCELLED}),
        OrderStatus.PAID: frozenset({OrderStatus.AWAITING_SHIPMENT, OrderStatus.CANCELLED}),
        OrderStatus.AWAITING_SHIPMENT: frozenset({OrderStatus.SHIPPED, OrderStatus.CANCELLED}),
        OrderStatus.SHIPPED: frozenset({OrderStatus.COMPLETED}),
        OrderStatus.COMPLETED: frozenset(),
        # The one way back: a payment that came late, and whose units could be taken again.
        OrderStatus.CANCELLED: frozenset({OrderStatus.PAID}),
    },
)

ACCEPTED = "accepted"
"""What a shopper sees between the 202 and the order's row; no state of the machine."""

PAYMENT_EXPIRED = "payment_expired"
"""The reason that the expiry alone gives; only such a cancellation may be undone by a payment."""

RESERVED_REASONS = frozenset({PAYMENT_EXPIRED})
"""Reasons that mean something to the machine, so nobody may claim them; other words are kept."""

TOPICS = {
    OrderStatus.PENDING_PAYMENT: Topic.ORDER_PLACED,
    OrderStatus.PAID: Topic.ORDER_PAID,
    OrderStatus.AWAITING_SHIPMENT: Topic.ORDER_AWAITING_SHIPMENT,
    OrderStatus.SHIPPED: Topic.ORDER_SHIPPED,
    OrderStatus.COMPLETED: Topic.ORDER_COMPLETED,
    OrderStatus.CANCELLED: Topic.ORDER_CANCELLED,
}
"""What the other rooms are told when an order enters a state."""


class EventType(StrEnum):
    """What stands in the timeline: the steps of the machine first, then the notes beside it."""

    PLACED = "placed"
    PAID = "paid"
    AWAITING_SHIPMENT = "awaiting_shipment"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    NOTE = "note"
    """Words of the staff; not shown to the buyer."""
    ADDRESS_CHANGED = "address_changed"
    PAID_LATE = "paid_late"
    """Money came for an order that had expired."""
    REFUND_DUE = "refund_due"
    """Money must go back; once a payment."""
    REFUNDED = "refunded"
    DELIVERED = "delivered"
    SHIPPED_OUT_OF_TURN = "shipped_out_of_turn"
    """The warehouse says it shipped an order that was not awaiting shipment."""


STEPS = {
    EventType.PLACED: OrderStatus.PENDING_PAYMENT,
    EventType.PAID: OrderStatus.PAID,
    EventType.AWAITING_SHIPMENT: OrderStatus.AWAITING_SHIPMENT,
    EventType.SHIPPED: OrderStatus.SHIPPED,
    EventType.COMPLETED: OrderStatus.COMPLETED,
    EventType.CANCELLED: OrderStatus.CANCELLED,
}
"""The state that a step of the timeline leads to; an event that is not here is a note."""

EVENT_OF = {status: event for event, status in STEPS.items()}
INTERNAL_EVENTS = frozenset({EventType.NOTE, EventType.SHIPPED_OUT_OF_TURN})
"""What the buyer does not get to see."""


class RefundReason(StrEnum):
    """Why a captured payment must go back."""

    ORDER_CANCELLED = "order_cancelled"
    AMOUNT_MISMATCH = "amount_mismatch"
    DUPLICATE_PAYMENT = "duplicate_payment"
    UNITS_GONE = "units_gone"


NONE = "none"
_PAYMENT_RANK = (
    "captured",
    "authorized",
    "requires_action",
    "pending",
    "failed",
    "voided",
    "expired",
)


def payment_status(
    statuses: Sequence[str],
    captured_amount: int,
    refund_statuses: Sequence[str],
    refunded_amount: int,
) -> str:
    """One word for all payments of an order: the furthest of them, or how much of it went back.

    ``none`` before the first attempt; then the status of the furthest payment; after a refund has
    begun ``refund_pending``, ``partially_refunded`` or ``refunded``. Amounts in minor units.
    """
    if captured_amount and refunded_amount >= captured_amount:
        return "refunded"
    if "pending" in refund_statuses:
        return "refund_pending"
    if refunded_amount:
        return "partially_refunded"
    return next((status for status in _PAYMENT_RANK if status in statuses), NONE)


def fulfillment_status(statuses: Sequence[str]) -> str:
    """The state of the live shipment; ``cancelled`` if there is none but was; else ``none``."""
    live = [status for status in statuses if status != "cancelled"]
    if live:
        return live[-1]
    return "cancelled" if statuses else NONE
