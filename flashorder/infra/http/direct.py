"""Calls that are served as soon as they have arrived, without a task each.

aiohttp wakes a task for each request, which makes a request object, a writer and a second task for
the handler, and goes through the router: 14 µs, more than a whole purchase may cost. A connection
that waits for a request therefore looks whether what its parser has just finished is plainly a
direct call. If so, the call's ``direct`` handler runs at once, as a plain function, and whoever
decides the call later (the batch that it flies with) settles it by a callback that writes the
answer. The parser, the connection and its life are aiohttp's as ever, and whatever is not plain
(another method, an escape, a query, a body on its way, chunks, an expectation, a second request in
the queue, a client that does not read, HTTP/1.0) goes to the application, which has the same calls
as routes.

While a direct call is in flight, the connection keeps the future that aiohttp's task sleeps on to
itself, so that to aiohttp it is busy. That is private to ``web.RequestHandler``:
tests/infra/http/test_direct.py drives all of it over real sockets and fails when it changes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.http import RawRequestMessage

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.binding import as_answer
from flashorder.infra.http.bodies import PATH_VALUE_CHARACTERS_MAX
from flashorder.infra.http.checks import (
    IDEMPOTENCY_KEY,
    TRACEPARENT,
    Headers,
    Parts,
    admission,
    failed,
    reception,
)
from flashorder.infra.http.connection_bounds import Connections
from flashorder.infra.http.connections import GuardedConnection
from flashorder.infra.http.endpoint import Call, Endpoint
from flashorder.infra.http.idempotency import checked_key
from flashorder.infra.http.pressure import Pressure, Refusals
from flashorder.infra.http.rate_limits import Peer
from flashorder.infra.telemetry.tracing import Trace, current_trace
from flashorder.kernel.errors import Overloaded

TARGETS_REMEMBERED_MAX: Final = 1024
_NAME: Final = re.compile(r"\\\{(\w+)\\\}")
# Nothing that is spelt in two ways, and nothing that ``check_path`` would refuse.
_VALUE: Final = rf"(?P<\1>[A-Za-z0-9_-]{{1,{PATH_VALUE_CHARACTERS_MAX}}})"

Serve: TypeAlias = Callable[
    [RawRequestMessage, StreamReader, Mapping[str, str], Peer, Callable[[Answer], None]], None
]
"""Serves a request that has arrived whole: its head, its body, the values of its path, its peer,
and what takes the answer."""

Refuse: TypeAlias = Callable[[RawRequestMessage, float], Answer]
"""Tells a request, unseen, that there is no room, and after how many seconds there may be."""


class Bound(NamedTuple):
    """A direct call, ready to be made."""

    serve: Serve
    refuse: Refuse


class DirectCalls:
    """What serves each direct call, by method and path."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, re.Pattern[str], Bound]] = []
        self._awaited: set[asyncio.Task[None]] = set()
        self.find = lru_cache(maxsize=TARGETS_REMEMBERED_MAX)(self._find)
        """What serves a method and a request target, with the path's values; None: nothing."""

    def add(self, endpoint: Endpoint, parts: Parts) -> None:
        """Serve ``endpoint``, which has a ``direct`` handler and takes no query."""
        assert endpoint.direct is not None, f"{endpoint.path} has no direct handler"
        assert endpoint.query is None, f"{endpoint.path} has a query"
        pattern = re.compile(_NAME.sub(_VALUE, re.escape(endpoint.path)))
        bound = Bound(self._serve(endpoint, parts), _refuse(endpoint, parts))
        self._calls.append((endpoint.method, pattern, bound))

    def _find(self, method: str, target: str) -> tuple[Bound, Mapping[str, str]] | None:
        for its_method, pattern, bound in self._calls:
            if method == its_method and (match := pattern.fullmatch(target)):
                return bound, MappingProxyType(match.groupdict())
        return None

    def _serve(self, endpoint: Endpoint, parts: Parts) -> Serve:
        """The same checks in the same order as ``binding.bind``."""
        admit = admission(endpoint, parts)
        body_at_once = reception(endpoint, parts).at_once
        begin = endpoint.direct
        assert begin is not None
        demands_key = endpoint.demands_key
        record = parts.meter.series(endpoint.method, endpoint.path).record

        def serve(
            message: RawRequestMessage,
            content: StreamReader,
            path: Mapping[str, str],
            peer: Peer,
            reply: Callable[[Answer], None],
        ) -> None:
            began = perf_counter()
            headers: Headers = message.headers
            lines = ""

            def settle(outcome: web.StreamResponse | Exception) -> None:
                if isinstance(outcome, Answer):
                    answer = outcome
                else:
                    answer = _failure(outcome, message, parts)
                if lines:
                    answer.add_lines(lines)
                record(answer.code, perf_counter() - began)
                reply(answer)

            try:
                caller, lines = admit(headers, peer)
                key = checked_key(headers.getall(IDEMPOTENCY_KEY, ())) if demands_key else None
                call = Call(None, path, body_at_once(headers, content), None, caller, key)
                if begin(call, settle):
                    return
            except Exception as failure:  # becomes an answer
                settle(failure)
                return
            self._await(_awaited(endpoint, call, headers, settle))

        return serve

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._awaited.add(task)
        task.add_done_callback(self._awaited.discard)


async def _awaited(
    endpoint: Endpoint,
    call: Call,
    headers: Headers,
    settle: Callable[[web.StreamResponse | Exception], None],
) -> None:
    """What cannot be decided at once is decided by the endpoint's coroutine."""
    current_trace.set(Trace(headers.get(TRACEPARENT)))
    try:
        outcome: Any = as_answer(await endpoint.handler(call), endpoint.reply_content_type)
    except Exception as failure:  # becomes an answer
        outcome = failure
    settle(outcome)


def _refuse(endpoint: Endpoint, parts: Parts) -> Refuse:
    """Without a look at token, key and body: a refusal has to cost less than what it saves."""
    record = parts.meter.series(endpoint.method, endpoint.path).record

    def refuse(message: RawRequestMessage, retry_after_seconds: float) -> Answer:
        record(503, 0.0)
        return _failure(Overloaded(retry_after_seconds=retry_after_seconds), message, parts)

    return refuse


def _failure(outcome: Any, message: RawRequestMessage, parts: Parts) -> Answer:
    assert isinstance(outcome, Exception), "a direct call is answered by an Answer or a failure"
    before = current_trace.set(Trace(message.headers.get(TRACEPARENT)))
    try:
        return failed(outcome, message.path, parts)
    finally:
        current_trace.reset(before)


class DirectConnection(GuardedConnection):
    """A connection that serves direct calls itself."""

    __slots__ = ("_closes", "_find", "_kept_waiter", "_pressure", "_refusals")

    def __init__(
        self,
        manager: web.Server,
        connections: Connections,
        calls: DirectCalls,
        pressure: Pressure,
        refusals: Refusals,
        *,
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        super().__init__(manager, connections, loop=loop, **options)
        self._find = calls.find
        self._pressure = pressure
        self._refusals = refusals
        self._closes = False
        # What aiohttp's task sleeps on, while a direct call is in flight.
        self._kept_waiter: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Let aiohttp parse; where its task waits for a request, see first whether it is needed."""
        waiter = self._waiter
        if waiter is None or waiter.done() or self._address is None:
            super().data_received(data)
            return
        self._waiter = None  # so it is not woken
        try:
            web.RequestHandler.data_received(self, data)
        finally:
            self._waiter = waiter
        if self._messages:
            self._go_on(waiter)
        elif data:
            self._head_grows(len(data))

    def _has_whole_request(self) -> bool:
        return self._kept_waiter is not None or super()._has_whole_request()

    def _go_on(self, waiter: asyncio.Future[None]) -> None:
        """Serve what waits in the queue, or wake aiohttp's task for it."""
        if len(self._messages) == 1 and not self._paused:
            message, content = self._messages[0]
            if (
                isinstance(message, RawRequestMessage)
                and (found := self._find(message.method, message.path)) is not None
                and content.is_eof()
                and message.version == HttpVersion11
                and not message.upgrade
                and hdrs.EXPECT not in (headers := message.headers)
                and hdrs.TRANSFER_ENCODING not in headers
            ):
                self._messages.clear()
                assert self._parser is not None, "the connection is open"
                self._parser.message_consumed()
                if self._between_requests:
                    self._between_requests = False
                else:
                    self.head_is_complete()
                self._waiter, self._kept_waiter = None, waiter
                self._request_in_progress = True
                self._closes = message.should_close
                call, path = found
                pressure = self._pressure
                if pressure.in_hand < pressure.half:  # as nearly always: the rest of begin()
                    pressure.in_hand += 1
                elif (retry_after_seconds := pressure.begin()) is not None:
                    self._refuse(call.refuse, message, retry_after_seconds)
                    return
                call.serve(message, content, path, self.peer, self._reply)
                return
        self._wake(waiter)

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        """Have aiohttp's task serve what waits, with the deadline of a head until it does."""
        self._head_begins()
        waiter.set_result(None)

    def _refuse(self, refuse: Refuse, message: RawRequestMessage, seconds: float) -> None:
        self._refusals.hold(lambda: self._write(refuse(message, seconds)))

    def _reply(self, answer: Answer) -> None:
        """The call in flight is decided."""
        self._pressure.end()
        self._write(answer)

    def _write(self, answer: Answer) -> None:
        """Write the answer to the call in flight, and wait for the next."""
        self._request_in_progress = False
        ended = self._handler_waiter
        if ended is not None and not ended.done():
            ended.set_result(None)  # a shutdown waits for it
        waiter, self._kept_waiter = self._kept_waiter, None
        transport = self.transport
        if transport is None or waiter is None:
            return  # the client has gone
        if self._closes or self.closing or self._force_close or not answer.stays_open:
            answer.force_close()
            transport.write(answer.whole())
            self.force_close()
            waiter.cancel()
            return
        transport.write(answer.whole())
        self._waiter = waiter
        self._between_requests = True
        self._next_keepalive_close_time = ends = self._clock() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(ends, self._process_keepalive)
        if self._messages:
            if self._buffer_paused:  # aiohttp's task knows when to read on
                self._wake(waiter)
            else:
                self._go_on(waiter)

    def force_close(self) -> None:
        """Close, and let aiohttp's task end."""
        super().force_close()
        waiter, self._kept_waiter = self._kept_waiter, None
        if waiter is not None:
            waiter.cancel()


DIRECT: web.AppKey[DirectCalls] = web.AppKey("direct", DirectCalls)
"""Where an application keeps them."""
