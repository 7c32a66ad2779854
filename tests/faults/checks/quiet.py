"""Healed and left alone, the service comes to rest: everything sold, nothing left to do."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.history import History
from tests.faults.snapshot import Snapshot

SETTLE_SECONDS_MAX = 30.0
INTERNAL_ERROR = 500


def everything_wanted_was_sold(_: History, end: Snapshot) -> Iterator[str]:
    """Demand above supply, and drained: not one unit is left over."""
    if not end.demand_was_above_supply:
        yield "buyers who went on asking were never refused everything as sold out"
    on_sale = {(item.sale_id, item.sku) for item in end.items if item.on_sale}
    for part in end.front:
        if part.stock and (part.sale_id, part.sku) in on_sale:
            yield f"{part.sale_id} {part.sku} shard {part.shard}: {part.stock} units are left"


def nothing_is_left_to_do(_: History, end: Snapshot) -> Iterator[str]:
    """Lag 0, nothing pending, nothing past its deadline."""
    for stream in end.streams:
        if stream.pending or stream.unread:
            yield f"shard {stream.shard}: {stream.pending} pending, {stream.unread} unread"
    for each in end.overdue:
        if each.count:
            yield f"{each.what}: {each.count}"


def the_service_agrees(_: History, end: Snapshot) -> Iterator[str]:
    """``flashorder verify`` finds nothing either."""
    for each in end.own_findings:
        yield f"{each.check}: {each.violations}, such as {each.example}"


def no_answer_is_an_internal_error(history: History, end: Snapshot) -> Iterator[str]:
    """Whatever breaks around the service has a name of its own: 500 is a mistake of the service."""
    for call in history.calls:
        if call.status == INTERNAL_ERROR:
            yield str(call)
    yield from end.internal_errors


def it_settles_in_time(_: History, end: Snapshot) -> Iterator[str]:
    """Within half a minute after the last fault has ended."""
    if end.settled_seconds > SETTLE_SECONDS_MAX:
        yield f"it took {end.settled_seconds:.1f} s until nothing was left to do"
