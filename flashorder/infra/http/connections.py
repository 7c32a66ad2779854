"""One connection, with the bounds that aiohttp leaves to others.

aiohttp closes a connection that is idle, but has no deadline for a request head that trickles in or
an answer that is not read, no cap on connections or on what is sent ahead, and answers what is not
HTTP in plain text. ``GuardedConnection`` adds these to ``web.RequestHandler`` by overriding its
protocol methods (``connection_made``, ``data_received``, ``pause_writing``, ``connection_lost``, …)
and its hooks (``handle_error``, ``finish_response``, ``log_access``, ``close``, …);
tests/infra/http/test_server.py and test_connections.py drive each of them over real sockets, so
that a change in aiohttp shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.connection_bounds import Connections
from flashorder.infra.http.problems import http_exception_answer, problem_answer
from flashorder.infra.http.rate_limits import Peer
from flashorder.infra.telemetry.tracing import Trace, current_trace

log = structlog.get_logger(__name__)

# What a connection may have sent that is no whole request yet, or waits behind one in flight; one
# segment more is read before it shows.
UNSERVED_BYTES_MAX: Final = 64 * 1024


class GuardedConnection(web.RequestHandler):
    """A connection that is counted, and whose request heads have a deadline."""

    __slots__ = (
        "_address",
        "_between_requests",
        "_clock",
        "_connections",
        "_heard",
        "_held",
        "_unserved_bytes",
        "_unserved_from",
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
        # Bytes that came since so many requests were parsed.
        self._unserved_bytes = self._unserved_from = 0
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
        """Have aiohttp parse what came while its task was busy."""
        if self._address is None:
            return
        # aiohttp calls with nothing to have its parser go on.
        ahead = bool(data) and self._has_whole_request()
        self._heard = True
        super().data_received(data)
        if self._messages:  # one that came between an answer and the waiting for the next
            self._head_begins()
        if ahead and self._unserved(len(data)) and not self._buffer_paused:
            if not self._messages:  # one head, and no end of it
                self.closing = True
            self._pause_reading_for_buffer()

    def _has_whole_request(self) -> bool:
        """One is in flight or waits: what comes now is for later."""
        request = self._current_request
        return bool(self._messages) or (request is not None and request.content.is_eof())

    def _unserved(self, count: int) -> bool:
        """Whether ``count`` bytes that are not served now are too many, with those before."""
        if not self._messages and self._unserved_from != self._request_count:
            self._unserved_bytes, self._unserved_from = 0, self._request_count
        self._unserved_bytes += count
        return self._unserved_bytes > UNSERVED_BYTES_MAX

    def _resume_reading_if_drained(self) -> None:
        """Read on when everything is served that was sent ahead, where that was much."""
        if not self._messages or self._unserved_bytes <= UNSERVED_BYTES_MAX:
            super()._resume_reading_if_drained()

    def _head_begins(self) -> None:
        self._heard = True
        if self._between_requests:
            self._between_requests = False
            self._connections.reading_head[self] = self._clock()

    def _head_grows(self, count: int) -> None:
        """``count`` bytes more have come of a head, and nothing is in flight."""
        self._head_begins()
        if self._unserved(count):
            self._refuse_and_close(431, "request_head_too_large", "The request head is too large.")

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
        if self._heard:
            self._refuse_and_close(408, "request_timeout", "The request head took too long.")
        self.force_close()

    def close_if_inside_a_head(self, now: float) -> bool:
        """Whether half a head, come before the last answer, has been lying here for too long.

        Nobody has heard its first byte: it was in the same segment as a request, or came while one
        was in flight. Only the parser knows; asked, it takes the head for ended, and goes no
        further.
        """
        waiter, parser = self._waiter, self._parser
        if not self._between_requests or waiter is None or waiter.done() or parser is None:
            return False
        answered_at = self._next_keepalive_close_time - self._keepalive_timeout
        if now - answered_at < self._connections.header_timeout_seconds:
            return False
        try:
            inside = parser.feed_eof() is not None
        except HttpProcessingError:
            inside = True
        if inside:
            self._heard = True  # though nobody has told
            self.head_is_late()
        return inside

    def _refuse_and_close(self, status: int, code: str, detail: str) -> None:
        if self.transport is not None:
            self.transport.write(_refusal(status, code, detail).whole())
        self.force_close()

    def pause_writing(self) -> None:
        """The client reads more slowly than is written: it has a time to catch up."""
        super().pause_writing()
        if self.transport is not None:
            self._connections.not_read.setdefault(self, (self.transport, self._clock()))

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if self.transport is not None and not self.transport.is_closing():
            self._connections.not_read.pop(self, None)

    def force_close(self) -> None:
        """Close; what is still to be sent has its time as well."""
        transport = self.transport
        super().force_close()
        self._sends_its_rest(transport)

    async def start(self) -> None:
        """aiohttp's task, which closes at its end."""
        transport = self.transport
        await super().start()
        self._sends_its_rest(transport)

    def _sends_its_rest(self, transport: asyncio.Transport | None) -> None:
        if (
            transport is not None
            and self._address is not None
            and transport.is_closing()
            and transport.get_write_buffer_size()
        ):
            self._connections.not_read.setdefault(self, (transport, self._clock()))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another."""
        if self._address is not None:
            self._connections.reading_head.pop(self, None)
            self._connections.not_read.pop(self, None)
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
        return (self._between_requests or not self._heard) and not self._messages

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
