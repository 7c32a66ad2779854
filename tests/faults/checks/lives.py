"""Each order's life: its steps, its money, its parcel; the providers' own books decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from flashorder.orders.model import ORDER, STEPS, EventType, OrderStatus
from tests.faults.history import History
from tests.faults.snapshot import Order, Snapshot

SHIPPED = frozenset({"shipped", "completed"})
GOODWILL = "goodwill"
"""The reason of a refund that an operator gives and the order is kept all the same."""


def timelines_are_paths(_: History, end: Snapshot) -> Iterator[str]:
    """Versions without a gap; steps that the machine permits; the last one is the state."""
    for order in end.orders:
        versions = [event.version for event in order.events]
        if versions != list(range(1, order.version + 1)):
            yield f"order {order.order_id}: version {order.version}, events {versions}"
        yield from (f"order {order.order_id}: {what}" for what in _wrong_path(order))


def _wrong_path(order: Order) -> Iterator[str]:
    states = [STEPS[EventType(each.type)] for each in order.events if each.type in STEPS]
    if not states or states[0] is not ORDER.initial:
        yield f"begins with {states[:1]}"
        return
    for before, after in pairwise(states):
        if not ORDER.permits(before, after):
            yield f"went from {before} to {after}"
    if states[-1] != order.status:
        yield f"is {order.status}, and its timeline ends with {states[-1]}"
    if (
        OrderStatus.SHIPPED in states
        and OrderStatus.PAID not in states[: states.index(OrderStatus.SHIPPED)]
    ):
        yield "was shipped before it was paid"


def money_and_orders_agree(_: History, end: Snapshot) -> Iterator[str]:
    """By the provider's books: a paid order has its total captured once, any other has nothing.

    But for what an operator gave back for goodwill.
    """
    kept: Counter[str] = Counter()
    captured: Counter[str] = Counter()
    order_of = {payment.payment_id: payment.order_id for payment in end.payments}
    orders = {order.order_id: order for order in end.orders}
    refunded: Counter[str] = Counter()
    for movement in end.provider_refunds:
        refunded[movement.payment] += movement.amount
    given: Counter[str] = Counter()
    for refund in end.refunds:
        if refund.reason == GOODWILL and refund.status == "succeeded":
            given[refund.order_id] += refund.amount
    for capture in end.captures:
        order_id = order_of.get(capture.ours)
        if order_id is None:
            yield f"capture {capture.payment} of {capture.amount}: there is no payment of ours"
            continue
        captured[capture.payment] += 1
        if captured[capture.payment] > 1:
            yield f"payment {capture.payment} of order {order_id} was captured twice"
        if refunded[capture.payment] > capture.amount:
            yield (
                f"payment {capture.payment}: {refunded[capture.payment]} went back of "
                f"{capture.amount}"
            )
        kept[order_id] += capture.amount - refunded[capture.payment]
    for order_id, order in orders.items():
        paid = order.status in ("paid", "awaiting_shipment", "shipped", "completed")
        expected = order.total_amount - given[order_id] if paid else 0
        if kept[order_id] != expected:
            yield (
                f"order {order_id} is {order.status}: the provider keeps {kept[order_id]} of it, "
                f"which should be {expected}"
            )


def our_captures_are_the_providers(_: History, end: Snapshot) -> Iterator[str]:
    """Captured here if and only if there, to the minor unit; one payment keeps an order."""
    there = {each.payment: each.amount for each in end.captures}
    here = {str(each.reference): each for each in end.payments if each.status == "captured"}
    for reference, amount in there.items():
        payment = here.get(reference)
        if payment is None:
            yield f"capture {reference} of {amount} is not in our books"
        elif payment.amount != amount:
            yield f"payment {payment.payment_id}: {payment.amount} here, {amount} there"
    for reference, payment in here.items():
        if reference not in there:
            yield f"payment {payment.payment_id}: captured here, not at the provider"
    keepers = Counter(payment.order_id for payment in end.payments if payment.keeps_order)
    for order_id, count in keepers.items():
        if count > 1:
            yield f"order {order_id} is kept by {count} payments"


def our_refunds_are_the_providers(_: History, end: Snapshot) -> Iterator[str]:
    """What went back by our books went back by theirs."""
    there: Counter[str] = Counter()
    for movement in end.provider_refunds:
        there[movement.payment] += movement.amount
    here: Counter[str] = Counter()
    references = {each.payment_id: str(each.reference) for each in end.payments}
    for refund in end.refunds:
        if refund.status == "succeeded":
            here[references[refund.payment_id]] += refund.amount
    for reference in sorted(there.keys() | here.keys()):
        if there[reference] != here[reference]:
            yield f"payment {reference}: {here[reference]} refunded here, {there[reference]} there"


def shipped_orders_have_left(_: History, end: Snapshot) -> Iterator[str]:
    """At most one live shipment an order; it is shipped if and only if one has left."""
    live = Counter(each.order_id for each in end.shipments if each.status != "cancelled")
    left = {each.order_id for each in end.shipments if each.status in ("shipped", "delivered")}
    for order_id, count in live.items():
        if count > 1:
            yield f"order {order_id} has {count} live shipments"
    for order in end.orders:
        if (order.status in SHIPPED) != (order.order_id in left):
            there = "one has left" if order.order_id in left else "no parcel has left"
            yield f"order {order.order_id} is {order.status}, and {there}"


def labels_are_of_live_orders(_: History, end: Snapshot) -> Iterator[str]:
    """By the carrier's books: at most one active label an order, and none for a cancelled one."""
    status = {order.order_id: order.status for order in end.orders}
    shipments = {each.shipment_id: each for each in end.shipments}
    labels: Counter[str] = Counter()
    for label in end.labels:
        if label.status != "active":
            continue
        shipment = shipments.get(label.reference)
        if shipment is None:
            yield f"label {label.tracking_number} of {label.reference} is no shipment's"
        elif status.get(shipment.order_id) != "cancelled":
            labels[shipment.order_id] += 1
        elif shipment.label_outcome != "too_late" or label.progress == "label_created":
            # A parcel that the carrier has moved already cannot be called back; that is known.
            order_id = shipment.order_id
            yield f"label {label.tracking_number} is active, its order {order_id} cancelled"
    for order_id, count in labels.items():
        if count > 1:
            yield f"order {order_id} has {count} active labels"
