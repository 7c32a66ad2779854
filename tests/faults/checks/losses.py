"""What went down with a store that lost its data: known to the entry, and judged as lost."""

from __future__ import annotations

from tests.faults.history import History, accepted
from tests.faults.snapshot import Snapshot


def lost_orders(end: Snapshot) -> frozenset[str]:
    """Orders whose only copy was in the store when it was thrown away, with or without the rest.

    Exactly those of the log's entries that stood before a loss, or were trimmed by a hand that is
    not the service's, and that PostgreSQL has neither as an order nor as a dead letter. Whoever
    calls an entry lost without a loss is wrong.
    """
    last = max(end.log.flushes, default=0)
    trims = set(end.log.early_trims)
    trimmed = {(shard, intent) for at, shard, intent in end.log.removed if at in trims}
    if not last and not trimmed:
        return frozenset()
    applied = {(order.shard, order.intent) for order in end.orders}
    applied |= {(letter.shard, letter.intent) for letter in end.dead_letters}
    return frozenset(
        entry.order_id
        for entry in end.log.entries
        if (entry.position < last or (entry.shard, entry.intent) in trimmed)
        and (entry.shard, entry.intent) not in applied
    )


def lost_acknowledgements(history: History, end: Snapshot) -> int:
    """How many purchases were told of an order that is lost."""
    return len(lost_acknowledgements_of(history, end))


def lost_acknowledgements_of(history: History, end: Snapshot) -> frozenset[str]:
    """The orders that were told of and whose first entry is lost, one a purchase.

    Some are orders again: by their receipt, or by their key.
    """
    lost = lost_orders(end)
    told = (
        [
            order_id
            for call in accepted(attempts)
            if (order_id := str(call.body.get("order_id"))) in lost
        ]
        for attempts in history.purchases().values()
    )
    return frozenset(order_ids[0] for order_ids in told if order_ids)
