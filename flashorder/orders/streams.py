"""Server-sent events of orders: one poller a worker asks for all watched orders at once.

The event stream format is that of the HTML standard, section 9.2: ``id`` is the version, so a
client that comes back with ``Last-Event-ID`` misses nothing and gets nothing twice; a 204 tells it
not to come back.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import msgspec
import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from flashorder.infra.http.bodies import ClientGone
from flashorder.kernel.errors import Overloaded, Unavailable
from flashorder.orders.model import ACCEPTED, STEPS, OrderStatus
from flashorder.orders.queries import OrderQueries
from flashorder.orders.views import Row, buyer_event_view

log = structlog.get_logger(__name__)

ENDING = frozenset({OrderStatus.COMPLETED, OrderStatus.CANCELLED})
"""States that end a stream. A late payment may bring a cancelled order back; that is another."""
_BACKLOG_EVENTS_MAX = 256
_RETRY_AFTER_SECONDS = 5.0


class Watch:
    """One client's place in the timeline of one order; iterates over rows until it ends."""

    def __init__(self, order_id: uuid.UUID, version: int) -> None:
        self.order_id = order_id
        self.version = version
        self._rows: asyncio.Queue[Row | None] = asyncio.Queue(_BACKLOG_EVENTS_MAX)

    def offer(self, row: Row) -> None:
        """Hand over ``row`` unless it was; a client that has stopped reading is let go."""
        if row["version"] <= self.version:
            return
        self.version = row["version"]
        try:
            self._rows.put_nowait(row)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """No more rows: what waits is dropped if there is no room to say so."""
        if self._rows.full():
            self._rows.get_nowait()
        self._rows.put_nowait(None)

    async def next(self, timeout_seconds: float) -> Row | None:
        """The next row, None at the end; ``TimeoutError`` if there is none in time."""
        async with asyncio.timeout(timeout_seconds):
            return await self._rows.get()

    def rest(self) -> Iterator[Row]:
        """The rows that wait already."""
        while not self._rows.empty():
            row = self._rows.get_nowait()
            if row is not None:
                yield row


class OrderStreams:
    """All streams of one worker; ``count`` is how many there are.

    ``run`` must be running; it ends every stream when it stops.
    """

    def __init__(
        self,
        queries: OrderQueries,
        *,
        streams_max: int,
        poll_seconds: float,
        heartbeat_seconds: float,
    ) -> None:
        self._queries = queries
        self._streams_max = streams_max
        self._poll_seconds = poll_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._watches: dict[uuid.UUID, set[Watch]] = {}
        self.count = 0
        self._someone = asyncio.Event()
        self._closed = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Poll for all watched orders until ``stopping``; then end their streams."""
        stop = asyncio.create_task(stopping.wait(), name="order-streams:stopping")
        try:
            while not stopping.is_set():
                await self._poll()
                wake = asyncio.create_task(self._someone.wait(), name="order-streams:wake")
                await asyncio.wait({stop, wake}, return_when=asyncio.FIRST_COMPLETED)
                wake.cancel()
                await asyncio.wait({stop}, timeout=self._poll_seconds)
        finally:
            stop.cancel()
            self.close()

    def close(self) -> None:
        """End every stream, and begin no more: for a server that drains its connections."""
        self._closed = True
        for watches in self._watches.values():
            for watch in watches:
                watch.end()

    @contextmanager
    def watch(self, order_id: uuid.UUID, version: int) -> Iterator[Watch]:
        """Follow the order from behind ``version`` on; ``Overloaded`` when too many do."""
        if self._closed or self.count >= self._streams_max:
            raise Overloaded(retry_after_seconds=_RETRY_AFTER_SECONDS)
        watch = Watch(order_id, version)
        self._watches.setdefault(order_id, set()).add(watch)
        self.count += 1
        self._someone.set()
        try:
            yield watch
        finally:
            self.count -= 1
            self._watches[order_id].discard(watch)
            if not self._watches[order_id]:
                del self._watches[order_id]
            if not self._watches:
                self._someone.clear()

    async def respond(
        self, request: web.Request, order_id: uuid.UUID, buyer_id: uuid.UUID
    ) -> web.StreamResponse:
        """Answer ``request`` with the buyer's order as it moves.

        Raises ``NotFound``, ``Overloaded`` and ``ClientGone`` before anything is written. 204 when
        the order has ended and the client has seen it all.
        """
        known = _last_event_id(request)
        progress = await self._queries.progress_of_own(order_id, buyer_id)
        if request.transport is None:
            raise ClientGone
        if progress.status in ENDING:
            rows = await self._queries.events_since([(order_id, known)])
            if all(buyer_event_view(row) is None for row in rows):
                return web.Response(status=204)
            async with sse_response(request) as response:
                for row in rows:
                    await _send(response, row)
            return response
        with self.watch(order_id, known) as watch:
            async with sse_response(request, ping_interval=self._heartbeat_seconds) as response:
                if progress.status == ACCEPTED:
                    await response.send(_accepted(order_id), event=ACCEPTED)
                async for row in self._rows(watch, response):
                    await _send(response, row)
        return response

    async def _rows(self, watch: Watch, response: EventSourceResponse) -> AsyncIterator[Row]:
        """Rows until the order or the service ends, or the client has gone."""
        while response.is_connected():
            try:
                row = await watch.next(self._heartbeat_seconds)
            except TimeoutError:
                continue
            if row is None:
                return
            yield row
            if STEPS.get(row["type"]) in ENDING:
                for rest in watch.rest():  # notes of the same transaction came along
                    yield rest
                return

    async def _poll(self) -> None:
        if not self._watches:
            return
        behind = [
            (order_id, min(watch.version for watch in watches))
            for order_id, watches in self._watches.items()
        ]
        try:
            rows = await self._queries.events_since(behind)
        except Unavailable as error:
            log.warning("order_streams_wait", error=repr(error))
            return
        for row in rows:
            for watch in self._watches.get(row["order_id"], ()):
                watch.offer(row)


def _last_event_id(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _accepted(order_id: uuid.UUID) -> str:
    return msgspec.json.encode({"order_id": order_id, "status": ACCEPTED}).decode()


async def _send(response: EventSourceResponse, row: Row) -> None:
    """One event: its type, its version as id, and what the timeline says of it."""
    event = buyer_event_view(row)
    if event is None:
        return
    told = msgspec.to_builtins(event) | {"order_id": str(row["order_id"])}
    status = STEPS.get(row["type"])
    if status is not None:
        told["status"] = status
    await response.send(msgspec.json.encode(told).decode(), id=str(event.version), event=event.type)
