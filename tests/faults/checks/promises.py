"""What a shopper was told is true."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.faults.checks.losses import lost_orders
from tests.faults.checks.tokens import token_in, token_of
from tests.faults.history import History, Outcome, accepted
from tests.faults.snapshot import Snapshot
from tests.faults.store_log import HoldStep

AGREED = ("order_id", "order_number", "sale_id", "sku", "quantity", "unit_price", "payment_due_at")


def each_acceptance_is_one_order(history: History, end: Snapshot) -> Iterator[str]:
    """Every 202 is one order with what it said, or one dead letter that still holds its units."""
    orders = {order.order_id: order for order in end.orders}
    letters = {letter.order_id for letter in end.dead_letters if letter.order_id}
    lost = lost_orders(end)
    for attempts in history.purchases().values():
        for call in accepted(attempts)[:1]:
            order_id = str(call.body.get("order_id"))
            order = orders.get(order_id)
            if order is None:
                if order_id not in letters and order_id not in lost:
                    yield f"{call}: its order {order_id} is nowhere"
                continue
            body = call.body
            told: tuple[Any, ...] = call.asked.buyer, call.asked.subject
            told += body.get("sku"), body.get("quantity")
            kept = (order.buyer_id, order.sale_id, order.sku, order.quantity)
            if told != kept:
                yield f"{call}: told {told}, kept {kept}"
            total = call.body.get("total", {}).get("amount")
            if total != order.total_amount:
                yield f"{call}: told a total of {total}, kept {order.total_amount}"


def a_refusal_is_no_order(history: History, end: Snapshot) -> Iterator[str]:
    """A key whose every attempt was refused has no order: the key itself names what it would be."""
    orders = {token_in(order.order_id): order.order_id for order in end.orders}
    for identity, attempts in history.purchases().items():
        order_id = orders.get(token_of(end, identity))
        if order_id and all(call.outcome is Outcome.REFUSED for call in attempts):
            yield f"{attempts[-1]}: refused {len(attempts)} times, and is order {order_id}"


def retries_agree(history: History, end: Snapshot) -> Iterator[str]:
    """All acceptances of a key say the same; after one, no later attempt is refused."""
    lost = lost_orders(end)
    for attempts in history.purchases().values():
        answers = accepted(attempts)
        if not answers or any(str(call.body.get("order_id")) in lost for call in answers):
            continue
        first = min(answers, key=lambda call: call.answered_at)
        for call in answers:
            for name in AGREED:
                if call.body.get(name) != first.body.get(name):
                    yield (
                        f"{call}: {name} {call.body.get(name)}, but #{first.asked.number} was told "
                        f"{first.body.get(name)}"
                    )
        for call in attempts:
            if call.outcome is Outcome.REFUSED and call.asked_at > first.answered_at:
                if call.code in ("rate_limited", "overloaded"):
                    continue  # said before anybody looks at the key
                yield f"{call}: refused after #{first.asked.number} had been accepted"


def nobody_has_what_nobody_asked_for(history: History, end: Snapshot) -> Iterator[str]:
    """Each order is that of a key, of the buyer who used it, with what was asked for under it."""
    asked: dict[str, set[tuple[Any, ...]]] = {}
    for identity, attempts in history.purchases().items():
        wishes = {
            (identity[0], identity[1], call.asked.body["sku"], call.asked.body["quantity"])
            for call in attempts
        }
        asked[token_of(end, identity)] = wishes
    for order in end.orders:
        wish = (order.buyer_id, order.sale_id, order.sku, order.quantity)
        if wish not in asked.get(token_in(order.order_id), ()):
            yield f"order {order.order_id} of {order.buyer_id}: nobody asked for it"


def what_was_sold_is_visible(history: History, end: Snapshot) -> Iterator[str]:
    """After a 202 its buyer can read the order: never "there is no such order".

    But for what only a store has that has lost it, until the sale is rebuilt from the rest.
    """
    lost, losses = lost_orders(end), history.losses()
    told: dict[str, float] = {}
    for attempts in history.purchases().values():
        for call in accepted(attempts):
            order_id = str(call.body.get("order_id"))
            if order_id in lost:
                continue
            told[order_id] = min(told.get(order_id, call.answered_at), call.answered_at)
    for call in history.of("look"):
        since = told.get(call.asked.subject)
        missing = call.outcome is Outcome.REFUSED and call.code == "order_not_found"
        if any(
            lost_at <= call.answered_at and call.asked_at <= back_at for lost_at, back_at in losses
        ):
            continue
        if missing and since is not None and call.asked_at > since:
            yield f"{call}: accepted {call.asked_at - since:.3f} s before"


def a_cancellation_stands(history: History, end: Snapshot) -> Iterator[str]:
    """Who was told that the order is cancelled has no live order."""
    orders = {order.order_id: order for order in end.orders}
    for call in history.of("cancel"):
        order = orders.get(call.asked.subject)
        if call.outcome is Outcome.OK and order is not None and order.status != "cancelled":
            yield f"{call}: told cancelled, and is {order.status}"


def units_go_back_once(_: History, end: Snapshot) -> Iterator[str]:
    """By the store's log a hold is released once; at the end it stands as PostgreSQL says."""
    orders = {order.order_id: order for order in end.orders}
    for order_id, steps in end.log.holds.items():
        yield from (f"order {order_id}: {what}" for what in _wrong_steps(steps))
        order = orders.get(order_id)
        if order is None:
            continue
        last = steps[-1]
        held = order.status != "cancelled" or order.released_at is None
        if (last.held, last.hold) != (held, order.hold):
            yield (
                f"order {order_id} is {order.status} by hold {order.hold}, the front says "
                f"{'held' if last.held else 'released'} by hold {last.hold}"
            )


def _wrong_steps(steps: list[HoldStep]) -> Iterator[str]:
    """Of (held, hold): taken, released, taken by the next hold, released, …

    A generation that is filled anew begins with whatever PostgreSQL says.
    """
    for before, after in pairwise(steps):
        released = before.held and not after.held and after.hold == before.hold
        reclaimed = not before.held and after.held and after.hold == before.hold + 1
        if not (released or reclaimed):
            yield (
                f"{_state(before)} at {before.position}, then {_state(after)} at {after.position}"
            )


def _state(step: HoldStep) -> str:
    return f"{'held' if step.held else 'released'} by hold {step.hold}"
