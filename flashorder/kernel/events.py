"""The outbox contract: what one room tells the others, written in the transaction that did it.

An ``Event`` is appended to the outbox by ``flashorder.infra.postgres.outbox.publish`` on the
connection of the running transaction. The relay (``flashorder.notifications``) hands each to every
handler subscribed to its topic, at least once, and keeps the order of a ``key`` as far as its own
docstring says: a handler is idempotent by the event's identity and guarded by the state it leaves.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Topic(StrEnum):
    """Every event there is; the comment names the keys of its payload beside the aggregate's id."""

    # key: order_id; payload: order_id, version
    ORDER_PLACED = "order.placed"
    ORDER_PAID = "order.paid"
    ORDER_AWAITING_SHIPMENT = "order.awaiting_shipment"
    ORDER_SHIPPED = "order.shipped"
    ORDER_COMPLETED = "order.completed"
    # + reason, hold, sale_id, buyer_id, lines: [{sku, quantity}]; gives the units back
    ORDER_CANCELLED = "order.cancelled"
    # + payment_id; a capture that came after the cancellation: take the units again, or refund
    ORDER_PAID_LATE = "order.paid_late"
    # + payment_id, reason: money that must go back
    ORDER_REFUND_DUE = "order.refund_due"

    # key: order_id; payload: order_id, payment_id, amount, currency
    PAYMENT_AUTHORIZED = "payment.authorized"
    PAYMENT_CAPTURED = "payment.captured"
    PAYMENT_FAILED = "payment.failed"
    REFUND_SUCCEEDED = "refund.succeeded"

    # key: order_id; payload: order_id, shipment_id, carrier, tracking_number
    SHIPMENT_SHIPPED = "shipment.shipped"
    SHIPMENT_DELIVERED = "shipment.delivered"

    # key: dead_letter_id; payload: dead_letter_id, sale_id, buyer_id, order_id, lines
    DEAD_LETTER_DISCARDED = "dead_letter.discarded"


@dataclass(frozen=True, slots=True)
class Event:
    """Ordered among those of its ``key``; ``payload`` is JSON; ``event_id`` 0: not stored yet."""

    topic: Topic
    key: uuid.UUID
    payload: Mapping[str, Any] = field(default_factory=dict)
    event_id: int = 0


Handler = Callable[[Event], Awaitable[None]]
"""Called at least once an event; a raised exception means: again later, with backoff."""
