"""The stream: each intent becomes one thing, and stays until it has."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.faults.checks.losses import lost_orders
from tests.faults.history import History
from tests.faults.snapshot import Snapshot

Intent = tuple[int, tuple[int, int]]


def each_intent_is_applied_once(_: History, end: Snapshot) -> Iterator[str]:
    """Every entry that was ever added is one order or one dead letter, and nothing else is."""
    applied = _applied(end)
    lost = lost_orders(end)
    added = {(entry.shard, entry.intent): entry for entry in end.log.entries}
    again = _said_again(end)
    for intent, entry in added.items():
        if applied[intent] != 1 and entry.order_id not in lost and intent not in again:
            yield (
                f"entry {_shown(intent)}, order {entry.order_id}, was applied "
                f"{applied[intent]} times"
            )
    for intent, times in applied.items():
        if intent not in added and added:
            yield f"entry {_shown(intent)} was applied {times} times and never added"
    orders = {order.order_id: order for order in end.orders}
    for intent, entry in added.items():
        order = orders.get(entry.order_id)
        if order is not None and order.intent is not None:
            kept = (order.buyer_id, order.sku, order.quantity)
            said = (entry.buyer_id, entry.sku, entry.quantity)
            if kept != said:
                yield f"entry {_shown(intent)} says {said}, its order says {kept}"


def nothing_is_trimmed_that_was_not_applied(_: History, end: Snapshot) -> Iterator[str]:
    """What the service has let leave the stream is in PostgreSQL."""
    applied = _applied(end)
    lost: defaultdict[int, list[str]] = defaultdict(list)
    early = set(end.log.early_trims)
    for position, shard, intent in end.log.removed:
        if not applied[shard, intent] and position not in early:
            lost[position].append(_shown((shard, intent)))
    for position, intents in lost.items():
        yield f"transaction {position} trimmed {len(intents)} unapplied: {', '.join(intents[:3])}"


def what_was_trimmed_early_is_told(_: History, end: Snapshot) -> Iterator[str]:
    """The service itself says that something is missing when a stream lost what nobody had read."""
    for trim in end.trims:
        if trim.unread and not trim.told_by:
            yield f"{trim.unread} entries of shard {trim.shard} went, and no check told of it"


def _said_again(end: Snapshot) -> set[Intent]:
    """Entries of receipts whose first entry was in a consumer's hands when it was taken for lost:
    the order is that one's.
    """
    applied = _applied(end)
    losses = (*end.log.flushes, *end.log.early_trims)
    first: dict[str, int] = {}
    again = set()
    for entry in end.log.entries:
        intent = (entry.shard, entry.intent)
        began = first.setdefault(entry.order_id, entry.position)
        if not applied[intent] and any(began < at < entry.position for at in losses):
            again.add(intent)
    return again & _of_orders(end)


def _of_orders(end: Snapshot) -> set[Intent]:
    """The entries that say what some order is, whether or not it was made of them."""
    orders = {order.order_id for order in end.orders}
    return {(each.shard, each.intent) for each in end.log.entries if each.order_id in orders}


def _applied(end: Snapshot) -> Counter[Intent]:
    applied: Counter[Intent] = Counter()
    for order in end.orders:
        if order.intent is not None:
            applied[order.shard, order.intent] += 1
    for letter in end.dead_letters:
        if letter.status != "retried":
            applied[letter.shard, letter.intent] += 1
    return applied


def _shown(intent: Intent) -> str:
    shard, (ms, seq) = intent
    return f"{ms}-{seq} of shard {shard}"
