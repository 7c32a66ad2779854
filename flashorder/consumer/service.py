"""The consumer: read a batch, commit it, acknowledge it, and trim what all have done with."""

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

from flashorder.consumer.entry import Entry
from flashorder.consumer.metrics import ConsumerMetrics
from flashorder.consumer.placing import Placed, Placing
from flashorder.consumer.stream import IntentStream
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.errors import Unavailable
from flashorder.settings import Settings

log = structlog.get_logger(__name__)

BACKOFF_SECONDS_FIRST = 0.1
BACKOFF_SECONDS_MAX = 5.0
# A living consumer asks for entries every ``consumer_block_seconds``; one that was killed leaves
# its name in the group, and what it held is claimed within seconds.
FORGET_IDLE_SECONDS = 3600.0


class Stopped(Exception):
    """It was time to stop while the database was away; the batch stays with the group."""


class Lane:
    """One shard: its stream, and where to look for entries next."""

    def __init__(self, stream: IntentStream, placing: Placing, settings: Settings) -> None:
        self.stream = stream
        self.placing = placing
        self._claim_idle_seconds = settings.consumer_claim_idle_seconds
        self._claim_at = 0.0
        self.interrupted()

    def interrupted(self) -> None:
        """An answer may be lost: begin again with the group and with what we were given."""
        self._group_exists = False
        self._own_read = False

    async def next(self, block_seconds: float | None) -> list[Entry]:
        """The next batch: our own leftovers, then those of the dead, then what is new."""
        if not self._group_exists:
            await self.stream.create_group()
            self._group_exists = True
        if not self._own_read:
            if entries := await self.stream.read_own():
                return entries
            self._own_read = True
        if time.monotonic() >= self._claim_at:
            entries = await self.stream.claim(self._claim_idle_seconds)
            if not self.stream.claim_goes_on:
                pause = self._claim_idle_seconds * random.uniform(0.4, 0.6)
                self._claim_at = time.monotonic() + pause
            if entries:
                return entries
        return await self.stream.read_new(block_seconds)

    def done(self, entries: Sequence[Entry]) -> None:
        """``entries`` are committed."""
        self.stream.ack_with_next(entries)


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

    async def run(self, stopping: asyncio.Event) -> None:
        """Drain until ``stopping``; the batch in hand is finished first."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                shard = lane.stream.shard
                group.create_task(self._drain(lane, stopping), name=f"consumer:s{shard}")
                group.create_task(self._upkeep(lane, stopping), name=f"upkeep:s{shard}")

    async def drain_once(self) -> int:
        """One batch of each shard if there is any, committed and acknowledged; returns entries."""
        count = 0
        for lane in self._lanes:
            entries = await lane.next(None)
            if entries:
                await self._place(lane, entries)
                lane.done(entries)
            await lane.stream.flush_acks()
            count += len(entries)
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
        failures = 0
        while not stopping.is_set():
            try:
                entries = await lane.next(self._settings.consumer_block_seconds)
                if entries:
                    await self._place_at_last(lane, entries, stopping)
                    lane.done(entries)
                failures = 0
            except Stopped:
                return
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
        with suppress(Unavailable, ResponseError):  # what is not acknowledged comes again
            await lane.stream.flush_acks()
            await lane.stream.leave()

    async def _place_at_last(
        self, lane: Lane, entries: Sequence[Entry], stopping: asyncio.Event
    ) -> None:
        """Place ``entries`` however long the database is away; ``Stopped`` if it is time."""

        def waiting(state: RetryCallState) -> None:
            self._metrics.retries.inc()
            error = state.outcome.exception() if state.outcome else None
            log.warning(
                "batch_waits",
                shard=lane.stream.shard,
                entries=len(entries),
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
        try:
            await retrying(self._place, lane, entries)
        except RetryError as error:
            raise Stopped from error

    async def _place(self, lane: Lane, entries: Sequence[Entry]) -> Placed:
        began = time.perf_counter()
        placed = await lane.placing.place(entries)
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
