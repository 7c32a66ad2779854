"""The consumer: read batches, commit them, acknowledge them, and trim what all have done with."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    retry_if_exception_type,
    wait_random_exponential,
)

from flashorder.consumer.lane import Batch, Lane
from flashorder.consumer.metrics import ConsumerMetrics
from flashorder.consumer.placing import Placed, Placing
from flashorder.consumer.stream import IntentStream
from flashorder.infra.postgres.pool import Pool
from flashorder.infra.redis.lives import Life, Told
from flashorder.kernel.errors import Unavailable
from flashorder.settings import Settings

log = structlog.get_logger(__name__)

BACKOFF_SECONDS_FIRST = 0.1
BACKOFF_SECONDS_MAX = 5.0
# A living consumer asks for entries every ``consumer_block_seconds``; one that was killed leaves
# its name in the group, and what it held is claimed within seconds.
FORGET_IDLE_SECONDS = 3600.0
# One that PostgreSQL works on, one whose commit waits for the disk, and one that is read and
# decoded meanwhile. They are independent, but for the stock guard's row of an SKU that two of them
# want, and may commit in any order.
BATCHES_IN_HAND_MAX = 3


def connections_wanted(shards: int) -> int:
    """The most that a consumer's pool to the database holds: one a batch, and two to spare."""
    return 2 + BATCHES_IN_HAND_MAX * shards


class Consumer:
    """Drains the intents of every shard into PostgreSQL; several may run at once.

    ``redis`` needs a socket time-out above ``settings.consumer_block_seconds``, and connections
    enough for a blocked read a shard beside the rest.
    """

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        settings: Settings,
        metrics: ConsumerMetrics | None = None,
    ) -> None:
        self._metrics = metrics or ConsumerMetrics(CollectorRegistry())
        self.name = settings.consumer_name or _unique_name()
        self._settings = settings
        self._lanes = [
            Lane(
                IntentStream(
                    redis, shard, self.name, entries_max=settings.consumer_batch_entries_max
                ),
                Placing(pool, shard),
                settings,
            )
            for shard in range(settings.shards)
        ]

    def told(self, shard: int) -> Sequence[Told]:
        """Which entries were read, for whoever finds out whether the store still has them."""
        return self._lanes[shard].stream.told

    def settled(self, shard: int, told: Sequence[Told], life: Life) -> None:
        """It has, or they were given up."""
        self._lanes[shard].stream.settled(told, life)

    async def run(self, stopping: asyncio.Event) -> None:
        """Drain until ``stopping``; the batches in hand are finished first."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                shard = lane.stream.shard
                group.create_task(self._drain(lane, stopping), name=f"consumer:s{shard}")
                group.create_task(self._upkeep(lane, stopping), name=f"upkeep:s{shard}")

    async def drain_once(self) -> int:
        """One batch of each shard if there is any, committed and acknowledged; returns entries."""
        count = 0
        for lane in self._lanes:
            batch = await lane.next(None)
            if batch.entries:
                await self._place(lane, batch)
                lane.done(batch)
            await lane.stream.flush_acks()
            count += len(batch.entries)
        return count

    async def drain_all(self) -> int:
        """``drain_once`` until there is nothing; returns entries."""
        total = 0
        while count := await self.drain_once():
            total += count
        return total

    async def trim(self) -> int:
        """Trim every shard's stream; returns entries dropped."""
        return sum([await lane.stream.trim() for lane in self._lanes])

    async def _drain(self, lane: Lane, stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as hands:
            await self._hand_out(lane, hands, stopping)
        with suppress(Unavailable, ResponseError):  # what is not acknowledged comes again
            await lane.stream.flush_acks()
            await lane.stream.leave()

    async def _hand_out(
        self, lane: Lane, hands: asyncio.TaskGroup, stopping: asyncio.Event
    ) -> None:
        """Read, and give each batch to a task of ``hands``, until it is time to stop."""
        in_hand: set[asyncio.Task[None]] = set()
        failures = 0
        while not stopping.is_set():
            try:
                if len(in_hand) >= (BATCHES_IN_HAND_MAX if lane.may_read_ahead else 1):
                    _, in_hand = await asyncio.wait(in_hand, return_when=asyncio.FIRST_COMPLETED)
                    if in_hand and not lane.may_read_ahead:  # no read will take them along soon
                        await lane.stream.flush_acks()
                    continue
                if in_hand:
                    batch = await lane.read_ahead()
                else:
                    batch = await lane.next(self._settings.consumer_block_seconds)
                failures = 0
            except Exception as error:  # the store is away, or forgot the group: begin again
                failures += 1
                lane.interrupted()
                log.warning(
                    "consumer_waits",
                    shard=lane.stream.shard,
                    failures=failures,
                    error=repr(error),
                )
                await _pause(stopping, _backoff_seconds(failures))
            else:
                if batch.entries:
                    in_hand.add(hands.create_task(self._place_at_last(lane, batch, stopping)))

    async def _place_at_last(self, lane: Lane, batch: Batch, stopping: asyncio.Event) -> None:
        """Place ``batch`` however long the database is away, but not once it is time to stop.

        Then it stays with the group, and is delivered again to whoever comes.
        """

        def waiting(state: RetryCallState) -> None:
            self._metrics.retries.inc()
            error = state.outcome.exception() if state.outcome else None
            log.warning(
                "batch_waits",
                shard=lane.stream.shard,
                entries=len(batch.entries),
                attempt=state.attempt_number,
                error=repr(error),
            )

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_random_exponential(BACKOFF_SECONDS_FIRST, BACKOFF_SECONDS_MAX),
            stop=lambda _: stopping.is_set(),
            sleep=_sleep_until(stopping),
            before_sleep=waiting,
            retry_error_cls=RetryError,
        )
        with suppress(RetryError):
            await retrying(self._place, lane, batch)
            lane.done(batch)

    async def _place(self, lane: Lane, batch: Batch) -> Placed:
        entries = batch.entries
        began = time.perf_counter()
        placed = await lane.placing.place(entries, delivered_before=batch.delivered_before)
        self._metrics.batch_seconds.observe(time.perf_counter() - began)
        self._metrics.batch_entries.observe(len(entries))
        self._metrics.applied_orders.inc(placed.orders)
        self._metrics.dead_letters.inc(placed.put_aside)
        age_seconds = time.time() - entries[0].intent[0] / 1000
        self._metrics.applied_age_seconds.labels(str(lane.stream.shard)).set(age_seconds)
        return placed

    async def _upkeep(self, lane: Lane, stopping: asyncio.Event) -> None:
        """Tell the lag, trim, forget the dead, now and then; what fails is tried again later."""
        while not stopping.is_set():
            await _pause(stopping, self._settings.consumer_upkeep_seconds)
            try:
                self._metrics.lag_entries.labels(str(lane.stream.shard)).set(
                    await lane.stream.lag()
                )
                await lane.stream.trim()
                await lane.stream.forget_dead(FORGET_IDLE_SECONDS)
            except (Unavailable, ResponseError) as error:
                log.warning("upkeep_waits", shard=lane.stream.shard, error=repr(error))


def _unique_name() -> str:
    """Of this life alone: a name shared by two would make each take the other's entries."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def _backoff_seconds(failures: int) -> float:
    ceiling = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_FIRST * 2 ** min(failures, 10))
    return random.uniform(ceiling / 2, ceiling)


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


def _sleep_until(stopping: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    """Sleep, but no longer than until it is time to stop."""

    async def sleep(seconds: float) -> None:
        await _pause(stopping, seconds)

    return sleep
