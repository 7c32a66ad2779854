"""Units: none is made, none is lost, none is sold twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flashorder.sales.front.packing import portion_of
from tests.faults.history import History
from tests.faults.snapshot import Item, Snapshot


def units_are_all_there(_: History, end: Snapshot) -> Iterator[str]:
    """initial + top-ups = available + held + sold: at each shard, and over both stores."""
    held = _units_in_orders(end)
    for item in (each for each in end.items if each.at_front):
        where = f"{item.sale_id} {item.sku}"
        given = item.initial + sum(item.top_ups)
        if item.allotted != given:
            yield f"{where}: allotted {item.allotted}, but {given} were given"
        yield from _wrong_shards(item, end)
        available = sum(
            part.stock for part in end.front if (part.sale_id, part.sku) == (item.sale_id, item.sku)
        )
        in_orders = held[item.sale_id, item.sku]
        if available + in_orders != given + item.corrections:
            yield (
                f"{where}: available {available} + in orders {in_orders} is not "
                f"{given} + corrections {item.corrections}"
            )


def _units_in_orders(end: Snapshot) -> Counter[tuple[str, str]]:
    """Units that have not come back: of live and unreleased orders, and of dead letters."""
    held: Counter[tuple[str, str]] = Counter()
    for order in end.orders:
        if order.status != "cancelled" or order.released_at is None:
            held[order.sale_id, order.sku] += order.quantity
    for letter in end.dead_letters:
        if letter.sale_id and letter.sku and not letter.released and letter.status != "retried":
            held[letter.sale_id, letter.sku] += letter.quantity or 0
    return held


def _wrong_shards(item: Item, end: Snapshot) -> Iterator[str]:
    """A correction is spread as the shards allow, so it is judged over all of them alone."""
    parts = {
        part.shard: part
        for part in end.front
        if (part.sale_id, part.sku) == (item.sale_id, item.sku)
    }
    for shard in range(end.shards):
        part = parts.get(shard)
        if part is None:
            yield f"{item.sale_id} {item.sku}: shard {shard} does not have it"
            continue
        given = sum(portion_of(n, shard, end.shards) for n in (item.initial, *item.top_ups))
        if part.stock + part.sold != given and not item.corrections:
            yield (
                f"{item.sale_id} {item.sku} shard {shard}: stock {part.stock} + sold {part.sold} "
                f"is not {given}"
            )


def stock_is_never_below_zero(_: History, end: Snapshot) -> Iterator[str]:
    """At no step of the store's log, nor at the end."""
    for item, steps in end.log.stock.items():
        for step in steps:
            if step.units < 0:
                yield f"{item}: stock {step.units} after transaction {step.position}"
                break
    for part in end.front:
        if part.stock < 0 or part.sold < 0:
            yield f"{part.sale_id} {part.sku} shard {part.shard}: {part.stock} and {part.sold} sold"


def each_step_moves_units_whole(_: History, end: Snapshot) -> Iterator[str]:
    """A transaction of the store takes what its entries say, and makes or loses no unit."""
    for each in end.log.unbalanced:
        yield f"transaction {each.position}: {each.what}"


def committed_never_exceeds_allotted(_: History, end: Snapshot) -> Iterator[str]:
    """PostgreSQL alone, after every UPDATE; and what is committed is what live orders take."""
    for each in end.commitments:
        if each.committed > each.allotted:
            yield f"{each.sale_id} {each.sku}: {each.committed} committed of {each.allotted}"
    live: Counter[tuple[str, str]] = Counter()
    for order in end.orders:
        if order.status != "cancelled":
            live[order.sale_id, order.sku] += order.quantity
    for item in end.items:
        units = live[item.sale_id, item.sku]
        if item.committed != units:
            yield f"{item.sale_id} {item.sku}: {item.committed} committed, {units} in live orders"
