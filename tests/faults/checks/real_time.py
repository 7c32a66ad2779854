"""Real-time order: what came after in the clients' eyes came after in the store's.

The store's log is one total order of everything that happened at the front. A client's call spans
an interval of it: after every entry whose acceptance somebody had in hand when the call left, and
before every entry that was asked for only when the answer was there. A refusal is true if somewhere
in that interval there is a state that it is true of. This is the check of linearizability by
search; with the log as the order there is only one history to search.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from flashorder.kernel.identifiers import shard_of
from flashorder.reservations.leases import LEASE_MS
from tests.faults.history import Call, History, Outcome, accepted
from tests.faults.snapshot import Snapshot
from tests.faults.store_log import Step

# A worker may refuse by itself for as long as its lease says, and nothing is sold meanwhile: units
# that come back in that time are there when the lease has ended. The rest is for rounding.
LEASE_SECONDS = (LEASE_MS + 5) / 1000


def sold_out_was_true(history: History, end: Snapshot) -> Iterator[str]:
    """At some moment of the call, or a lease before it, there were fewer units than asked for."""
    timeline = _Timeline.of(history, end)
    for call in _refused(history, "sold_out"):
        shard = _shard(call, end)
        item = f"{shard}/{call.asked.subject}/{call.asked.body['sku']}"
        steps = end.log.stock.get(item)
        if steps is None:
            continue
        wanted = call.asked.body["quantity"]
        first, last = timeline.span(call, before_seconds=LEASE_SECONDS)
        # Nothing can be refused as sold out before the sale is opened, with its first step.
        first = max(first, steps[0].position)
        if not any(units < wanted for units in _values(steps, first, last)):
            least = min(_values(steps, first, last))
            yield (
                f"{call}: {wanted} wanted, never fewer than {least} there between transactions "
                f"{first} and {last}"
            )


def limit_reached_was_true(history: History, end: Snapshot) -> Iterator[str]:
    """At some moment of the call the buyer held so much that the wish went over the limit."""
    timeline = _Timeline.of(history, end)
    limits = {(item.sale_id, item.sku): item.per_buyer_limit for item in end.items}
    for call in _refused(history, "limit_reached"):
        sku = call.asked.body["sku"]
        holding = f"{_shard(call, end)}/{call.asked.subject}/{call.asked.buyer}/{sku}"
        wanted = call.asked.body["quantity"]
        limit = limits[call.asked.subject, sku]
        first, last = timeline.span(call)
        steps = end.log.holdings.get(holding, [])
        if not any(units + wanted > limit for units in _values(steps, first, last)):
            most = max(_values(steps, first, last))
            yield (
                f"{call}: {wanted} wanted, never more than {most} held of {limit} between "
                f"transactions {first} and {last}"
            )


def order_of_the_stream_is_real(history: History, end: Snapshot) -> Iterator[str]:
    """Who asked after another had the 202 in hand stands behind them in the log."""
    timeline = _Timeline.of(history, end)
    for position, asked_at, order_id in timeline.entries:
        before = timeline.known_before(asked_at)
        if before > position:
            yield (
                f"order {order_id} was asked for when an entry of transaction {before} had been "
                f"accepted, and stands at {position}"
            )


@dataclass(frozen=True, slots=True)
class _Timeline:
    """Positions against the clients' clock.

    ``answered``: acceptances by time; ``reached[i]`` is the furthest position among the first i+1.
    ``asked``: entries by when they were first asked for; ``earliest[i]`` is the first position
    among entries i and later.
    """

    entries: list[tuple[int, float, str]]
    answered: list[float]
    reached: list[int]
    asked: list[float]
    earliest: list[int]
    length: int

    @classmethod
    def of(cls, history: History, end: Snapshot) -> _Timeline:
        position: dict[str, int] = {}
        for entry in end.log.entries:  # a receipt that was honoured made a second one, later
            position.setdefault(entry.order_id, entry.position)
        entries: list[tuple[int, float, str]] = []
        answers: list[tuple[float, int]] = []
        for attempts in history.purchases().values():
            for call in accepted(attempts):
                order_id = str(call.body.get("order_id"))
                if order_id in position:
                    answers.append((call.answered_at, position[order_id]))
            told = accepted(attempts)
            if told and str(told[0].body.get("order_id")) in position:
                order_id = str(told[0].body["order_id"])
                asked_at = min(call.asked_at for call in attempts)
                entries.append((position[order_id], asked_at, order_id))
        answers.sort()
        by_asking = sorted((asked_at, at) for at, asked_at, _ in entries)
        earliest = list(accumulate((at for _, at in reversed(by_asking)), min))[::-1]
        return cls(
            entries,
            [at for at, _ in answers],
            list(accumulate((at for _, at in answers), max)),
            [at for at, _ in by_asking],
            earliest,
            end.log.length,
        )

    def known_before(self, moment: float) -> int:
        """The furthest position that somebody had been told of before ``moment``."""
        count = bisect_left(self.answered, moment)
        return self.reached[count - 1] if count else 0

    def span(self, call: Call, *, before_seconds: float = 0.0) -> tuple[int, int]:
        """The first and the last position that the store may have decided the call at.

        With ``before_seconds`` by what it knew so long before.
        """
        count = bisect_right(self.asked, call.answered_at)
        last = self.earliest[count] - 1 if count < len(self.earliest) else self.length
        return self.known_before(call.asked_at - before_seconds), last


def _refused(history: History, code: str) -> Iterator[Call]:
    """Purchases, and receipts that were presented."""
    return (
        call
        for call in chain(history.of("buy"), history.of("present"))
        if call.outcome is Outcome.REFUSED and call.code == code
    )


def _shard(call: Call, end: Snapshot) -> int:
    return shard_of(bytes.fromhex(call.asked.buyer.replace("-", "")), end.shards)


def _values(steps: Sequence[Step], first: int, last: int) -> Iterator[int]:
    """The value at ``first``, and those that it took until ``last``; 0 before the first step.

    One by one: a long call at a busy item spans thousands, and is mostly decided by the first.
    """
    n = bisect_right(steps, first, key=lambda step: step.position)
    yield steps[n - 1].units if n else 0
    while n < len(steps) and steps[n].position <= last:
        yield steps[n].units
        n += 1
