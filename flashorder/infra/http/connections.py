"""One connection, with the bounds that aiohttp leaves to others.

aiohttp closes a connection that is idle, but has no deadline for a request head that trickles in,
no cap on connections, and answers what is not HTTP in plain text. ``GuardedConnection`` adds these
to ``web.RequestHandler`` by overriding its protocol methods (``connection_made``,
``data_received``, ``connection_lost``) and its hooks (``handle_error``, ``finish_response``,
``log_access``, ``close``); tests/infra/http/test_server.py drives each of them over real sockets,
so that a change in aiohttp shows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from aiohttp import web

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.problems import http_exception_answer, problem_answer
from flashorder.infra.http.rate_limits import Peer
from flashorder.infra.telemetry.tracing import Trace, current_trace

log = structlog.get_logger(__name__)


@dataclass
class Connections:
    """The connections of a process and their bounds; times are those of the event loop, seconds."""

    total_max: int
    per_address_max: int
    header_timeout_seconds: float
    total: int = 0
    per_address: Counter[str] = field(default_factory=Counter)
    # Since when each is waiting for the rest of a request head, the longest waiting first.
    reading_head: dict[GuardedConnection, float] = field(default_factory=dict)

    def admit(self, address: str) -> bool:
        """Count a new connection of ``address``, if there is room for it."""
        if self.total >= self.total_max or self.per_address[address] >= self.per_address_max:
            return False
        self.total += 1
        self.per_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection that was admitted has ended."""
        self.total -= 1
        self.per_address[address] -= 1
        if not self.per_address[address]:
            del self.per_address[address]

    def close_late(self, now: float) -> int:
        """Close every connection whose request head is overdue; how many."""
        late = 0
        for connection, since in list(self.reading_head.items()):
            if now - since < self.header_timeout_seconds:
                break
            del self.reading_head[connection]
            connection.head_is_late()
            late += 1
        return late


class GuardedConnection(web.RequestHandler):
    """A connection that is counted, and whose request heads have a deadline."""

    __slots__ = (
        "_address",
        "_between_requests",
        "_clock",
        "_connections",
        "_heard",
        "_held",
        "closing",
        "peer",
    )

    def __init__(
        self,
        manager: web.Server,
        connections: Connections,
        *,
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **options)
        self._connections = connections
        self._clock = loop.time
        self._address: str | None = None
        self._between_requests = False
        self._heard = False
        self._held = False
        self.closing = False
        self.peer = Peer("")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or refuse it with a 503 that costs next to nothing."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        if not self._connections.admit(address):
            wire = cast("asyncio.Transport", transport)
            wire.write(_refusal(503, "overloaded", "Too many connections.").whole())
            wire.close()
            return
        self._address = address
        self.peer = Peer(address)
        self._connections.reading_head[self] = self._clock()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """A first byte after a request begins the time of the next head."""
        if self._address is None:
            return
        # aiohttp calls with nothing to have its parser go on.
        if data:
            self._head_begins()
        super().data_received(data)

    def _head_begins(self) -> None:
        self._heard = True
        if self._between_requests:
            self._between_requests = False
            self._connections.reading_head[self] = self._clock()

    def pause_reading(self) -> None:
        """More has arrived than is being read."""
        self._held = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on, if there was a pause: aiohttp asks twice for each body, and that costs 2 µs."""
        if self._held:
            self._held = False
            super().resume_reading(resume_parser)

    def head_is_complete(self) -> None:
        """A request begins to be handled: its head has no deadline any more."""
        self._connections.reading_head.pop(self, None)
        self._between_requests = False

    def head_is_late(self) -> None:
        """Say so, where something was heard, and close."""
        if self.transport is not None and self._heard:
            self.transport.write(
                _refusal(408, "request_timeout", "The request head took too long.").whole()
            )
        self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another."""
        if self._address is not None:
            self._connections.reading_head.pop(self, None)
            self._connections.leave(self._address)
            self._address = None
            super().connection_lost(exc)

    def close(self) -> None:
        """Close after what is in flight; its answer says so."""
        self.closing = True
        super().close()

    @property
    def awaits_request(self) -> bool:
        """Nothing is in flight: a request may come, or its head is coming."""
        return self._between_requests or self in self._connections.reading_head

    @property
    def silent(self) -> bool:
        """No byte of a next request has been read."""
        return self._between_requests or not self._heard

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        """The end of each answer: what comes next is another head."""
        self._between_requests = True

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """aiohttp's own refusals (an Expect that cannot be met, ``OPTIONS *``) become problems."""
        if self.closing:
            resp.force_close()
        if isinstance(resp, web.HTTPException):
            current_trace.set(Trace(request.headers.get("traceparent")))
            resp = http_exception_answer(resp, instance=request.rel_url.raw_path)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP gets a problem and one short line in the log, not a traceback.

        A client that has gone gets nothing: aiohttp closes when it hears ``ConnectionError``.
        """
        if isinstance(exc, ConnectionError):
            log.debug("client_gone", error=repr(exc))
            raise exc
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer was begun already")
        if status >= 500:
            log.error("connection_failed", exc_info=exc)
            return _refusal(500, "internal_error", "Something went wrong inside flashorder.")
        log.debug("malformed_http", error=repr(exc))
        return _refusal(status, "malformed_request", "This is not HTTP/1.1 as it is spoken here.")


def _refusal(status: int, code: str, detail: str) -> Answer:
    return problem_answer(status, code, detail, closes=True)
