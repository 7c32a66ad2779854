"""The sold-out memo: a worker refuses by itself what the store would refuse.

Once something is sold out, nearly everybody who still comes is told so, and asking the store for
each of them costs more than all the rest of the call. lua/sold_out.lua therefore lends a worker the
right to say it for some tens of milliseconds, again and again, and lua/reserve.lua sells nothing of
the SKU while such a lease stands. So the memo never says what the store would not have said in that
moment: units that come back are sold when the last lease has ended, and a key that was accepted is
never refused, because the worker is lent nothing unless it knows all of them. See docs/adr/0011.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Final, TypeAlias

import structlog
from redis.asyncio import Redis

from flashorder.kernel.errors import StoreUnavailable
from flashorder.reservations.accepted_tokens import AcceptedTokens, tokens_of
from flashorder.reservations.leases import LEASE_MS, NOTHING, Leases, Question, Reading
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.records import Purchase

log = structlog.get_logger(__name__)

# Counted from before the question, so it ends before the lease does; the rest is for clocks that
# run unlike and for milliseconds that are cut off.
USE_SECONDS: Final = (LEASE_MS - 10) / 1000
LOOK_SECONDS: Final = 0.025
# What nobody asks for any more is not looked at any more.
IDLE_SECONDS: Final = 5.0
# A scan is followed by a rest of so many times what it took, so it costs a worker at most 5 %.
RESTS_PER_SCAN: Final = 20.0
AWAY_REST_SECONDS: Final = 1.0
FAILED_REST_SECONDS: Final = 30.0
CATCH_UP_ENTRIES_MAX: Final = 256
CANCEL_AGAIN_SECONDS: Final = 0.1

Subject: TypeAlias = tuple[int, int, str]
"""Shard, sale (as an integer, whose hash costs nothing) and SKU."""


class _Memo:
    """One SKU of a sale in one shard that somebody was told is sold out."""

    __slots__ = ("accepts", "asked_at", "sale_id", "shard", "since_id", "sku", "tokens")

    def __init__(self, shard: int, sale_id: uuid.UUID, sku: str) -> None:
        self.shard = shard
        self.sale_id = sale_id
        self.sku = sku
        self.asked_at = 0.0
        # ``tokens`` has the first ``accepts`` purchases of the SKU; the stream has those since then
        # from ``since_id`` on.
        self.tokens: AcceptedTokens | None = None
        self.accepts = NOTHING
        self.since_id = ""

    def knows(self, tokens: AcceptedTokens, reading: Reading) -> None:
        """``tokens`` has every accepted one that there was at ``reading``."""
        self.tokens = tokens
        self.accepts = reading.accepts
        self.since_id = str(reading.now_ms)

    def question(self) -> Question:
        """What the store is asked for a lease."""
        return Question(self.shard, self.sale_id, self.sku, self.accepts)

    def forget(self) -> None:
        """The tokens must be scanned again."""
        self.tokens, self.accepts = None, NOTHING


class _Lease:
    """What was known when the lease was lent; a memo may learn other things meanwhile."""

    __slots__ = ("limit", "refused", "tokens")

    def __init__(self, tokens: AcceptedTokens, limit: int) -> None:
        self.tokens = tokens
        self.limit = limit
        self.refused = 0


class SoldOut:
    """A worker's memos of every shard; ``run`` is their owner's task, in the loop that makes them.

    ``refuses`` and ``heard`` are for each purchase and cost about a microsecond. At most
    ``skus_max`` SKUs are remembered, none of a sale with more than ``tokens_max`` purchases.
    """

    def __init__(
        self, redis: Redis, *, skus_max: int, tokens_max: int, metrics: ReserveMetrics
    ) -> None:
        self._redis = redis
        self._skus_max = skus_max
        self._tokens_max = tokens_max
        self._metrics = metrics
        self._store = Leases(redis)
        self._clock = asyncio.get_running_loop().time
        self._memos: dict[Subject, _Memo] = {}
        self._wake = asyncio.Event()
        self.leases: dict[Subject, _Lease] = {}
        """What may be refused; usually nothing, so who asks often looks here first."""
        self._until = 0.0
        self._to_scan: dict[tuple[int, uuid.UUID], None] = {}
        self._scan_wanted = asyncio.Event()

    def refuses(
        self, shard: int, sale_number: int, generation: int, sku: str, quantity: int, token: bytes
    ) -> bool:
        """Whether the store would now tell a new token that nothing is left, and this one is new
        for certain.

        ``sale_number`` is the sale's id as an integer. False says nothing: the store must be
        asked. A wish above the limit is left to it, because it has a better reason to refuse that.
        """
        if not self.leases:
            return False
        lease = self.leases.get((shard, sale_number, sku))
        if (
            lease is None
            or quantity > lease.limit
            or generation != lease.tokens.generation
            or self._clock() >= self._until
            or lease.tokens.may_have(token)
        ):
            return False
        lease.refused += 1
        return True

    def heard(self, shard: int, purchase: Purchase) -> None:
        """The store had nothing left for ``purchase``: see to a lease."""
        subject = (shard, purchase.sale_id.int, purchase.sku)
        memo = self._memos.get(subject)
        if memo is None:
            if len(self._memos) >= self._skus_max:
                return
            memo = self._memos[subject] = _Memo(shard, purchase.sale_id, purchase.sku)
            self._wake.set()
        memo.asked_at = self._clock()

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the leases until ``stopping`` is set; what is lent then ends by itself."""
        stop = asyncio.ensure_future(stopping.wait())
        stop.add_done_callback(lambda _: self._wake.set())
        scanning = asyncio.create_task(self._scan_what_is_wanted())
        try:
            while not stopping.is_set():
                await self._next_look()
                await self._look_or_tell()
        finally:
            stop.cancel()
            # Before Python 3.12 a wait_for, as the client's, may swallow a cancellation
            # (CPython gh-86296): a worker that was told to stop would stand still for ever.
            while not scanning.done():
                scanning.cancel()
                await asyncio.wait({scanning}, timeout=CANCEL_AGAIN_SECONDS)
            self._replace({}, 0.0)

    async def _next_look(self) -> None:
        """In a while, at once where there is news, and never while there is nothing to look at."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS if self._memos else None)
        self._wake.clear()

    async def _look_or_tell(self) -> None:
        try:
            await self.look()
        except StoreUnavailable:
            pass  # the batcher tells the buyers
        except Exception as error:  # an answer that cannot be read must not end the task
            log.warning("sold_out_unreadable", error=repr(error))

    async def look(self) -> None:
        """Ask for a lease on each memo in one round trip, and see to those that are behind."""
        self._drop_idle()
        asked = list(self._memos.items())
        leases: dict[Subject, _Lease] = {}
        behind: list[_Memo] = []
        asked_at = self._clock()
        try:
            readings = await self._store.ask([memo.question() for _, memo in asked])
            for (subject, memo), reading in zip(asked, readings, strict=True):
                if reading is None:
                    self._memos.pop(subject, None)
                elif memo.tokens is None or memo.tokens.generation != reading.generation:
                    memo.forget()
                    self._let_scan(memo, reading)
                elif memo.accepts != reading.accepts:
                    behind.append(memo)
                else:
                    memo.since_id = str(reading.now_ms)
                    if reading.lent:
                        leases[subject] = _Lease(memo.tokens, reading.per_buyer_limit)
        finally:
            self._replace(leases, asked_at + USE_SECONDS)
        for memo in behind:
            await self._catch_up(memo)

    def _replace(self, leases: dict[Subject, _Lease], until: float) -> None:
        refused = sum(lease.refused for lease in self.leases.values())
        self.leases, self._until = leases, until
        self._metrics.sold_out_refused.inc(refused)
        self._metrics.sold_out_leases.set(len(leases))

    def _drop_idle(self) -> None:
        now = self._clock()
        for subject, memo in list(self._memos.items()):
            lease = self.leases.get(subject)
            if lease is not None and lease.refused:
                memo.asked_at = now
            elif now - memo.asked_at > IDLE_SECONDS:
                del self._memos[subject]

    async def _catch_up(self, memo: _Memo) -> None:
        """Add what was accepted since the memo's reading, if the stream still has all of it.

        It has if it holds as many purchases of the SKU as ``accepts`` has grown by: reserve.lua
        counts the one with the other, and both are read in one transaction. The stream is trimmed
        from its front only, so there cannot be one too few and another one too many; unless the
        reading ended before the stream did, and began with what the memo has already.
        """
        reading, entries = await self._store.read_with_stream(
            memo.question(), memo.since_id, CATCH_UP_ENTRIES_MAX
        )
        if reading is None or memo.tokens is None:
            return
        found = tokens_of(entries, memo.sale_id, memo.sku)
        if (
            memo.tokens.generation == reading.generation
            and len(entries) < CATCH_UP_ENTRIES_MAX
            and memo.accepts + len(found) == reading.accepts
            and memo.tokens.count + len(found) <= memo.tokens.room
        ):
            memo.tokens.add(found)
            memo.knows(memo.tokens, reading)
            if reading.stock == 0:
                self._wake.set()
        else:
            memo.forget()
            self._let_scan(memo, reading)

    def _let_scan(self, memo: _Memo, reading: Reading) -> None:
        if reading.stock == 0 and reading.tokens <= self._tokens_max:
            self._to_scan[memo.shard, memo.sale_id] = None
            self._scan_wanted.set()

    async def _scan_what_is_wanted(self) -> None:
        while True:
            await self._scan_wanted.wait()
            shard, sale_id = next(iter(self._to_scan))
            began = self._clock()
            try:
                await self.scan(shard, sale_id)
                rest_seconds = RESTS_PER_SCAN * (self._clock() - began)
            except StoreUnavailable:
                rest_seconds = AWAY_REST_SECONDS
            except Exception as error:  # the store must be asked, then; it does not end the task
                log.warning("sold_out_scan_failed", error=repr(error))
                rest_seconds = FAILED_REST_SECONDS
            del self._to_scan[shard, sale_id]
            if not self._to_scan:
                self._scan_wanted.clear()
            self._wake.set()
            await asyncio.sleep(rest_seconds)

    async def scan(self, shard: int, sale_id: uuid.UUID) -> None:
        """Learn every token that was accepted in the sale, for all of its memos."""
        memos = [
            each for each in self._memos.values() if (each.shard, each.sale_id) == (shard, sale_id)
        ]
        readings = await self._store.ask(
            [memo.question()._replace(known=NOTHING) for memo in memos]
        )
        read = [(memo, reading) for memo, reading in zip(memos, readings, strict=True) if reading]
        if not read:
            return
        newest = read[-1][1]
        tokens = AcceptedTokens(newest.generation, room=2 * newest.tokens)
        await tokens.scan(self._redis, shard, sale_id)
        for memo, reading in read:
            if reading.generation == tokens.generation:
                memo.knows(tokens, reading)
