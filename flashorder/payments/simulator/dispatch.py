"""Delivers the simulator's webhooks until each is answered with 2xx, or as badly as it is told to.

Webhooks of one payment are a lane: the next leaves when the one before has arrived. Those that are
to be reordered leave their lane and travel alone.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable

import aiohttp
import msgspec
import structlog

from flashorder.kernel.clock import utc_now
from flashorder.payments.signatures import sign
from flashorder.payments.simulator.books import Books, EventEntry
from flashorder.payments.simulator.control import Control

log = structlog.get_logger(__name__)

DELIVERIES_AT_ONCE_MAX = 16
ATTEMPTS_MAX = 500
BACKOFF_SECONDS_FIRST = 0.2
BACKOFF_SECONDS_MAX = 10.0
HELD_BACK_SECONDS_MAX = 0.5
TIMEOUT_SECONDS = 10.0


class Parcel(msgspec.Struct, eq=False):
    """One webhook under way; ``copies`` deliveries are still to come, in ``lane`` or alone."""

    event: EventEntry
    copies: int = 1
    attempts: int = 0
    lane: str | None = None


class Dispatcher:
    """``run`` must be awaited by its owner; ``post`` never blocks."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        books: Books,
        control: Callable[[], Control],
        *,
        url: str,
        secret: bytes,
    ) -> None:
        self._session = session
        self._books = books
        self._control = control
        self._url = url
        self._secret = secret
        self._due: list[tuple[float, int, Parcel]] = []
        self._sequence = 0
        self._lanes: dict[str, deque[tuple[float, Parcel]]] = {}
        self._wake = asyncio.Event()
        self.counts = {"delivered": 0, "dropped": 0, "failed_attempts": 0, "given_up": 0}

    @property
    def waiting(self) -> int:
        """Webhooks that are not delivered yet."""
        return len(self._books.waiting_events)

    def post(self, events: Iterable[EventEntry]) -> None:
        """Send ``events`` as the present control says."""
        control = self._control()
        for event in events:
            if random.random() < control.drop_webhook_rate:
                self.counts["dropped"] += 1
                self._books.close_event(event)
                continue
            whole, part = divmod(float(control.duplicate_webhooks), 1)
            parcel = Parcel(event, 1 + int(whole) + (random.random() < part))
            delay_seconds = control.delay_webhook_ms / 1000
            if random.random() < float(control.reorder_webhooks):
                delay_seconds += random.uniform(0, HELD_BACK_SECONDS_MAX)
                self._schedule(parcel, delay_seconds)
            else:
                self._enter_lane(parcel, delay_seconds)

    def resume(self) -> None:
        """Send what a former run has left undelivered."""
        for event in list(self._books.waiting_events.values()):
            self._enter_lane(Parcel(event), 0.0)

    async def run(self) -> None:
        """Deliver until cancelled."""
        slots = asyncio.Semaphore(DELIVERIES_AT_ONCE_MAX)
        async with asyncio.TaskGroup() as group:
            while True:
                await slots.acquire()
                parcel = await self._next()
                task = group.create_task(self._deliver(parcel))
                task.add_done_callback(lambda _: slots.release())

    def _enter_lane(self, parcel: Parcel, delay_seconds: float) -> None:
        parcel.lane = parcel.event.payment
        due = asyncio.get_running_loop().time() + delay_seconds
        lane = self._lanes.get(parcel.lane)
        if lane is None:
            self._lanes[parcel.lane] = deque()
            self._schedule(parcel, delay_seconds)
        else:
            lane.append((due, parcel))

    def _leave_lane(self, parcel: Parcel) -> None:
        if parcel.lane is None:
            return
        lane = self._lanes[parcel.lane]
        if lane:
            due, following = lane.popleft()
            self._schedule(following, max(0.0, due - asyncio.get_running_loop().time()))
        else:
            del self._lanes[parcel.lane]

    def _schedule(self, parcel: Parcel, delay_seconds: float) -> None:
        self._sequence += 1
        due = asyncio.get_running_loop().time() + delay_seconds
        heapq.heappush(self._due, (due, self._sequence, parcel))
        self._wake.set()

    async def _next(self) -> Parcel:
        while True:
            self._wake.clear()
            wait_seconds = None
            if self._due:
                wait_seconds = self._due[0][0] - asyncio.get_running_loop().time()
                if wait_seconds <= 0:
                    return heapq.heappop(self._due)[2]
            try:
                await asyncio.wait_for(self._wake.wait(), wait_seconds)
            except TimeoutError:
                continue

    async def _deliver(self, parcel: Parcel) -> None:
        event = parcel.event
        parcel.attempts += 1
        if not await self._accepted(event):
            self.counts["failed_attempts"] += 1
            if parcel.attempts < ATTEMPTS_MAX:
                doubled = BACKOFF_SECONDS_FIRST * 2 ** min(parcel.attempts - 1, 16)
                self._schedule(parcel, min(BACKOFF_SECONDS_MAX, doubled) * random.uniform(0.5, 1))
                return
            self.counts["given_up"] += 1
            parcel.copies = 1
        else:
            self.counts["delivered"] += 1
        parcel.copies -= 1
        if parcel.copies > 0:
            self._schedule(parcel, 0.0)
            return
        self._books.close_event(event)
        self._leave_lane(parcel)

    async def _accepted(self, event: EventEntry) -> bool:
        body = event.body.encode()
        headers = sign(self._secret, event.id, utc_now(), body)
        headers["Content-Type"] = "application/json"
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            ) as answer:
                if answer.status >= 300:
                    log.info("webhook_refused", event_id=event.id, status=answer.status)
                return answer.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.info("webhook_not_delivered", event_id=event.id, error=repr(error))
            return False
