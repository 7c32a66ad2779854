"""The reading half of the outbox: each event reaches every handler of its topic, at least once.

An event is leased in one short transaction, handled outside of any, and marked in another. Of a key
only the first waiting event is ever leased, so a key that fails delays no other; its event is tried
again until it is done, or an operator discards it (``desk``). A handler sees an event again after a
death, a failure or a lost mark.

Order: two events of one key are handled in the order of their ids if the first was committed before
the second was written. So it is for those of one transaction, and for those that are written under
a lock of the same row, as each room writes its own. Two rooms that write of one key side by side
may commit in another order than that of the ids; then the later id may come first, and a handler
has to be guarded by the state it leaves, not by what it has heard before.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry

from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.errors import Unavailable
from flashorder.kernel.events import Event, Handler, Topic
from flashorder.notifications.metrics import OutboxMetrics
from flashorder.settings import Settings

log = structlog.get_logger(__name__)

SQL = load_sql("flashorder.notifications")
BACKOFF_SECONDS_FIRST = 0.1
BACKOFF_SECONDS_MAX = 60.0
ERROR_CHARACTERS_MAX = 500
_TOPICS = frozenset(Topic)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A leased event; ``expires`` is when nothing may be begun for it any more (monotonic)."""

    event: Event
    attempts: int
    expires: float


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of it: ``error`` is empty when every handler has done its part."""

    taken: _Taken
    error: str


class OutboxRelay:
    """``subscriptions`` maps each topic to its handlers, called one after another.

    Several relays may run at once. In flight are at most ``settings.outbox_batch_events_max``
    events, being handled at most ``settings.outbox_handlers_max``.
    """

    def __init__(
        self,
        pool: Pool,
        subscriptions: Mapping[Topic, Sequence[Handler]],
        settings: Settings,
        metrics: OutboxMetrics | None = None,
    ) -> None:
        self._metrics = metrics or OutboxMetrics(CollectorRegistry())
        self._pool = pool
        self._subscriptions = {topic: tuple(each) for topic, each in subscriptions.items()}
        self._events_max = settings.outbox_batch_events_max
        self._poll_seconds = settings.outbox_poll_seconds
        self._lease_seconds = settings.outbox_lease_seconds
        self._slots = asyncio.Semaphore(settings.outbox_handlers_max)

    async def run(self, stopping: asyncio.Event) -> None:
        """Relay until ``stopping``; what is being handled then is finished and marked."""
        tasks: set[asyncio.Task[_Done]] = set()
        unmarked: list[_Done] = []
        failures = 0
        try:
            while not stopping.is_set():
                try:
                    unmarked = await self._mark(unmarked)
                    taken = await self._take(self._events_max - len(tasks))
                    failures = 0
                except Exception as error:  # whatever it is, events wait and the loop goes on
                    failures += 1
                    log.warning("outbox_waits", failures=failures, error=repr(error))
                    await _pause(stopping, backoff_seconds(failures))
                    taken = []
                tasks |= {asyncio.create_task(self._handle(each)) for each in taken}
                if not taken:
                    await self._wait(tasks, stopping)
                finished = {task for task in tasks if task.done()}
                tasks -= finished
                unmarked += [task.result() for task in finished]
        finally:
            if tasks:
                finished, _ = await asyncio.wait(tasks)
                unmarked += [task.result() for task in finished]
            with suppress(Unavailable):  # unmarked events come again when their lease is over
                await self._mark(unmarked)

    async def relay_once(self) -> int:
        """Take what is due now, handle it and mark it; returns how many events that were."""
        taken = await self._take(self._events_max)
        await self._mark(await asyncio.gather(*map(self._handle, taken)))
        return len(taken)

    async def relay_all(self) -> int:
        """``relay_once`` until nothing is due; failed events wait for their time."""
        total = 0
        while count := await self.relay_once():
            total += count
        return total

    async def _wait(self, tasks: set[asyncio.Task[_Done]], stopping: asyncio.Event) -> None:
        """Until something is done, the time to poll has come, or it is time to stop."""
        if tasks:
            await asyncio.wait(
                tasks, timeout=self._poll_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        else:
            await _pause(stopping, self._poll_seconds)

    async def _take(self, events_max: int) -> list[_Taken]:
        if events_max <= 0:
            return []
        # Half of the lease for waiting and beginning, half for the handlers: it is never outlived.
        expires = time.monotonic() + self._lease_seconds / 2
        with database_failures():
            rows = await self._pool.fetch(SQL["take_events"], events_max, self._lease_seconds)
        # Of a newer version: it is for that one's relay, and until then for operators to see.
        strange = [row for row in rows if row["topic"] not in _TOPICS]
        for row in strange:
            log.error("event_of_unknown_topic", event_id=row["event_id"], topic=row["topic"])
        await self._mark_failed(
            [(row["event_id"], row["attempts"], "of no topic known here") for row in strange]
        )
        return [
            _Taken(
                Event(Topic(row["topic"]), row["key"], row["payload"], row["event_id"]),
                row["attempts"],
                expires,
            )
            for row in rows
            if row["topic"] in _TOPICS
        ]

    async def _handle(self, taken: _Taken) -> _Done:
        handlers = self._subscriptions.get(taken.event.topic, ())
        if not handlers:
            return _Done(taken, "")
        async with self._slots:
            if time.monotonic() > taken.expires:
                return _Done(taken, "not begun within its lease")
            try:
                async with asyncio.timeout(self._lease_seconds / 2):
                    for handler in handlers:
                        await handler(taken.event)
            except Exception as error:  # whatever it was, it is told and tried again
                log.warning(
                    "event_failed",
                    event_id=taken.event.event_id,
                    topic=taken.event.topic,
                    attempts=taken.attempts,
                    error=repr(error),
                )
                return _Done(taken, repr(error))
        return _Done(taken, "")

    async def _mark(self, done: Sequence[_Done]) -> list[_Done]:
        """Write down what became of ``done``; returns what is left to mark: nothing."""
        processed = [each.taken.event for each in done if not each.error]
        failed = [each for each in done if each.error]
        if processed:
            with database_failures():
                ids = [event.event_id for event in processed]
                await self._pool.execute(SQL["mark_processed"], ids)
        await self._mark_failed(
            [(each.taken.event.event_id, each.taken.attempts, each.error) for each in failed]
        )
        for event in processed:
            self._metrics.processed_events.labels(event.topic).inc()
        for each in failed:
            self._metrics.failed_attempts.labels(each.taken.event.topic).inc()
        return []

    async def _mark_failed(self, failed: Sequence[tuple[int, int, str]]) -> None:
        """(event id, attempts so far, what went wrong) of each that is to be tried again later."""
        if not failed:
            return
        ids, attempts, errors = zip(*failed, strict=True)
        with database_failures():
            await self._pool.execute(
                SQL["mark_failed"],
                ids,
                [backoff_seconds(each) for each in attempts],
                [_storable(each) for each in errors],
            )


def backoff_seconds(failures: int) -> float:
    """Exponential with full jitter above the half, so that those who failed together part."""
    ceiling = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_FIRST * 2 ** min(failures, 12))
    return random.uniform(ceiling / 2, ceiling)


def _storable(error: str) -> str:
    """What PostgreSQL takes as text: no NUL, and not without end."""
    return error.replace("\0", "\\0")[:ERROR_CHARACTERS_MAX]


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
