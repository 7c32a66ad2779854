"""Buyers: never over the limit, never two orders for one key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.checks.tokens import token_in
from tests.faults.history import History
from tests.faults.snapshot import Snapshot


def no_buyer_is_ever_over_the_limit(_: History, end: Snapshot) -> Iterator[str]:
    """At no step of the store's log; and by the live orders of the end."""
    limits = {(item.sale_id, item.sku): item.per_buyer_limit for item in end.items}
    for holding, steps in end.log.holdings.items():
        _shard, sale_id, buyer, sku = holding.split("/", 3)
        limit = limits.get((sale_id, sku))
        over = next((step for step in steps if limit is not None and step.units > limit), None)
        if over is not None:
            yield f"buyer {buyer} holds {over.units} {sku} at {over.position}, limit {limit}"
    live: Counter[tuple[str, str, str]] = Counter()
    for order in end.orders:
        if order.status != "cancelled":
            live[order.sale_id, order.sku, order.buyer_id] += order.quantity
    for (sale_id, sku, buyer), units in live.items():
        limit = limits.get((sale_id, sku))
        if limit is None:
            yield f"buyer {buyer} has {units} {sku}, which sale {sale_id} does not have"
        elif units > limit:
            yield f"buyer {buyer} has {units} {sku} in live orders, limit {limit}"


def buyers_hold_what_their_orders_take(_: History, end: Snapshot) -> Iterator[str]:
    """At the end the front counts against each buyer what has not come back, and nothing else."""
    forgotten = {item.sale_id for item in end.items if not item.at_front}
    taken: Counter[tuple[str, str, str]] = Counter()
    for order in end.orders:
        if order.status != "cancelled" or order.released_at is None:
            taken[order.sale_id, order.buyer_id, order.sku] += order.quantity
    held: Counter[tuple[str, str, str]] = Counter()
    for holding, steps in end.log.holdings.items():
        _shard, sale_id, buyer, sku = holding.split("/", 3)
        held[sale_id, buyer, sku] += steps[-1].units
    for sale_id, buyer, sku in sorted(taken.keys() | held.keys()):
        if sale_id in forgotten:
            continue
        units = held[sale_id, buyer, sku], taken[sale_id, buyer, sku]
        if units[0] != units[1] and not _has_dead_letter(end, sale_id, sku):
            yield f"buyer {buyer} holds {units[0]} {sku}, their orders take {units[1]}"


def _has_dead_letter(end: Snapshot, sale_id: str, sku: str) -> bool:
    """A dead letter holds units as well; whose, its row need not say."""
    return any((each.sale_id, each.sku) == (sale_id, sku) for each in end.dead_letters)


def one_order_a_key(_: History, end: Snapshot) -> Iterator[str]:
    """The end of an order id is the hash of buyer, sale and key: no two orders share it."""
    tokens = Counter((order.sale_id, token_in(order.order_id)) for order in end.orders)
    for (sale_id, token), count in tokens.items():
        if count > 1:
            yield f"{count} orders of sale {sale_id} have the token {token}"
