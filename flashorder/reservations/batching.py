"""Purchases that arrive while a batch is in flight are the next batch.

One script call, and one fsync, serve a whole batch: that is where the speed comes from. Each shard
has one ``Batcher`` with at most one batch in flight; nothing waits for a timer.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from time import perf_counter
from typing import Any, TypeAlias

import structlog
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import RETRY_AFTER_SECONDS, store_failures
from flashorder.infra.redis.scripts import load_script
from flashorder.kernel.errors import FlashorderError, Overloaded, StoreUnavailable
from flashorder.reservations.greeting import Greeting
from flashorder.reservations.line import ScriptLine
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.ports import Fence
from flashorder.reservations.records import Purchase, ReserveCode, Verdict

log = structlog.get_logger(__name__)
PROBE_SECONDS = 0.1
_CODES: dict[int | bytes, ReserveCode] = {code.value: code for code in ReserveCode}


Outcome: TypeAlias = Verdict | FlashorderError
Settle: TypeAlias = Callable[[Outcome], None]
"""Takes the store's word on a purchase, or why there is none; called once, and must not block."""
_Waiting: TypeAlias = tuple[Purchase, Settle]


class Batcher:
    """Gathers the purchases of one shard; ``run`` is its owner's task, in the loop that makes it.

    A purchase is ``Overloaded`` when ``waiting_max`` purchases wait already, and
    ``StoreUnavailable`` at once while the store is known to be away. One whose batch got no answer
    is ``StoreUnavailable`` too: it may have been taken or not, and the same idempotency key tells
    which on the next try. Nothing is sent to a server whose data ``fence`` has not settled.
    """

    def __init__(
        self,
        redis: Redis,
        shard: int,
        *,
        batch_max: int,
        waiting_max: int,
        metrics: ReserveMetrics,
        fence: Fence,
    ) -> None:
        self._shard = shard
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._metrics = metrics
        greeting = Greeting(shard, fence)
        self.told = greeting.told
        """What this batcher was told of the shard's stream."""
        self._line = ScriptLine(redis, load_script("reserve"), greeting)
        self._sent_at = 0.0
        # Asking for the running loop costs a system call each time (getpid, in Python 3.11).
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        # Whether ``run`` has been woken for what is in the queue.
        self._knows = False
        self._away = False
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Purchases that wait for a batch."""
        return len(self._queue)

    @property
    def store_is_away(self) -> bool:
        """Whether the store did not answer the last batch, and has not come back since."""
        return self._away

    def put(self, purchase: Purchase, settle: Settle) -> None:
        """Have ``settle`` told the store's word, after it has fsynced whatever it took.

        A callback, because a future for each purchase would be one more turn of the loop for each.
        """
        if self._away or self._stopped:
            self._metrics.refused.labels("store_unavailable").inc()
            settle(StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS))
        elif len(self._queue) >= self._waiting_max:
            self._metrics.refused.labels("overloaded").inc()
            settle(Overloaded(retry_after_seconds=RETRY_AFTER_SECONDS))
        else:
            self._queue.append((purchase, settle))
            if not self._knows:
                self._knows = True
                self._arrived.set()

    def submit(self, purchase: Purchase) -> asyncio.Future[Verdict]:
        """The same to be awaited; an outcome that is a failure is raised."""
        word: asyncio.Future[Verdict] = self._loop.create_future()

        def settle(outcome: Outcome) -> None:
            if word.done():
                return
            if isinstance(outcome, Verdict):
                word.set_result(outcome)
            else:
                word.set_exception(outcome)

        self.put(purchase, settle)
        return word

    async def run(self, stopping: asyncio.Event) -> None:
        """Fly batches until ``stopping`` is set and nothing waits; then refuse what comes."""
        stop = asyncio.ensure_future(stopping.wait())
        stop.add_done_callback(lambda _: self._arrived.set())
        try:
            while not (stopping.is_set() and not self._queue):
                if not self._queue:
                    self._knows = False
                    self._arrived.clear()
                    await self._arrived.wait()
                    # One turn of the loop: what the same wake-up brought goes along.
                    await asyncio.sleep(0)
                    continue
                await self._fly_while_any_wait()
                if self._away:
                    await self._until_back(stop)
        finally:
            stop.cancel()
            self._stopped = True
            self._refuse(self._queue, StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS))
            self._queue.clear()
            await self._line.close()

    async def _fly_while_any_wait(self) -> None:
        """One batch after the other; the next takes off before the one that landed is settled.

        So the store decides while the worker writes answers, and the worker's next look at the
        queue is a batch later.
        """
        flying = self._next_group()
        try:
            await self._send(flying, idle=True)
            while flying:
                verdicts = await self._receive(flying)
                landed, flying = flying, self._next_group()
                try:
                    if flying:
                        await self._send(flying)
                finally:
                    self._settle(landed, verdicts)
        except FlashorderError as error:
            self._refuse(flying, error)
        except asyncio.CancelledError:
            self._refuse(flying, StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS))
            raise
        except Exception as error:  # a batch must never take the batcher with it
            log.exception("reserve_batch_failed", shard=self._shard)
            await self._line.close()
            self._refuse(flying, FlashorderError(f"the reservation failed: {error!r}"))

    def _next_group(self) -> list[_Waiting]:
        """The purchases of one sale that are to fly together; none when nothing waits."""
        queue = self._queue
        group: list[_Waiting] = []
        others: list[_Waiting] = []
        for _ in range(min(len(queue), self._batch_max)):
            waiting = queue.popleft()
            purchase = waiting[0]
            first = group[0][0] if group else purchase
            together = purchase.sale_id is first.sale_id and purchase.generation == first.generation
            (group if together else others).append(waiting)
        if others:
            queue.extendleft(reversed(others))
        self._metrics.waiting.set(len(queue))
        return group

    async def _send(self, group: list[_Waiting], *, idle: bool = False) -> None:
        first = group[0][0]
        arguments = chain.from_iterable([purchase.arguments() for purchase, _ in group])
        self._sent_at = perf_counter()
        with self._store_watched():
            await self._line.send(
                keys.reserve_keys(self._shard, first.sale_id),
                (first.generation, first.sale_id.bytes, *arguments),
                idle=idle,
            )

    async def _receive(self, group: list[_Waiting]) -> list[Verdict]:
        """The verdicts on ``group``; a reply that is none is a failure of those who wait for it."""
        with self._store_watched():
            reply: list[int | bytes] = await self._line.receive()
        now_ms, window_ms, last_id = int(reply[0]), int(reply[1]), reply[2]
        verdicts = [
            Verdict(_CODES[number], detail, now_ms, window_ms)
            for number, detail in zip(reply[3::2], reply[4::2], strict=True)
        ]
        assert len(verdicts) == len(group), "reserve.lua answers each purchase"
        if last_id:
            assert isinstance(last_id, bytes), "reserve.lua answers with an id, or with nothing"
            self.told.highest = last_id
        self._metrics.store_up.set(1)
        self._metrics.batch_seconds.observe(perf_counter() - self._sent_at)
        self._metrics.batch_purchases.observe(len(group))
        for number, count in Counter(reply[3::2]).items():
            self._metrics.by_code[_CODES[number]].inc(count)
        return verdicts

    @contextmanager
    def _store_watched(self) -> Iterator[None]:
        """What the store does not do becomes a refusal; that it is away is told to all who wait."""
        try:
            with store_failures():
                yield
        except StoreUnavailable as error:
            if isinstance(error.__cause__, OutOfMemoryError):
                raise Overloaded(
                    "the store's memory is full until orders are carried on",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                ) from error
            self._away = True
            self._metrics.store_up.set(0)
            log.warning("store_unavailable", shard=self._shard, error=repr(error.__cause__))
            waiting, self._queue = self._queue, deque()
            self._refuse(waiting, error)
            raise

    def _settle(self, group: list[_Waiting], verdicts: list[Verdict]) -> None:
        for (_, settle), verdict in zip(group, verdicts, strict=True):
            try:
                settle(verdict)
            except Exception:  # one shopper's answer must not cost the others theirs
                log.exception("purchase_not_settled", shard=self._shard)

    def _refuse(self, group: Iterable[_Waiting], error: FlashorderError) -> None:
        for _, settle in group:
            try:
                settle(error)
            except Exception:  # as above
                log.exception("purchase_not_settled", shard=self._shard)

    async def _until_back(self, stop: asyncio.Future[Any]) -> None:
        await self._line.close()  # it would lead to the same server, whatever that is by now
        while not stop.done():
            try:
                with store_failures():
                    await self._line.open()
            except (FlashorderError, RedisError) as error:
                log.debug("store_not_entered", shard=self._shard, error=repr(error))
            except Exception:  # whatever it is, it must not take the batcher with it
                log.exception("store_not_entered", shard=self._shard)
            else:
                self._away = False
                log.info("store_available", shard=self._shard)
                return
            await asyncio.wait({stop}, timeout=PROBE_SECONDS * random.uniform(0.5, 1.5))
