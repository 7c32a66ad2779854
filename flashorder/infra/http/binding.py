"""From an ``Endpoint`` record to the coroutine that aiohttp calls.

Everything that can be decided at the start is decided there: each endpoint gets one coroutine whose
steps are plain functions; no middleware, no reflection and no log line stand between a good request
and its handler. The order of the checks is the order of their cost and of what a stranger may
learn: address limit (429), token (401), role (403), buyer's limit (429), idempotency key (400),
path (404), query (422), body (408, 413, 415, 400, 422), then the handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from aiohttp import hdrs, web
from multidict import istr

from flashorder.infra.http.answers import PRIVATE, Answer, header_lines
from flashorder.infra.http.bodies import (
    ClientGone,
    body_decoder,
    check_media_type,
    check_path,
    may_be_empty,
    query_decoder,
    read_body,
    read_ready,
)
from flashorder.infra.http.endpoint import ANY_ROLE, Call, Caller, Endpoint, Reply
from flashorder.infra.http.idempotency import (
    IdempotencyStore,
    answered_once,
    checked_key,
    fingerprint_of,
)
from flashorder.infra.http.problems import failure_answer
from flashorder.infra.http.rate_limits import RateLimits
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.telemetry.metrics import RequestMeter
from flashorder.infra.telemetry.tracing import Trace, current_trace
from flashorder.kernel.errors import FlashorderError, Forbidden, MalformedRequest
from flashorder.settings import Settings


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a call that takes none."""


RequestHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BoundHandler(Protocol):
    """An endpoint's coroutine; ``unchecked``: the path's values may be anything."""

    def __call__(
        self, request: web.Request, path: Mapping[str, str], unchecked: bool = False
    ) -> Awaitable[web.StreamResponse]:
        """Answer ``request``."""
        ...


# multidict finds a header faster by a name that it need not fold again.
_TRACEPARENT: Final = istr("traceparent")
_IDEMPOTENCY_KEY: Final = istr("Idempotency-Key")
_Run: TypeAlias = Callable[[Call], Awaitable[web.StreamResponse]]
_ARRIVING: Final = object()
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Parts:
    """What all endpoints of an application share; ``limits`` None: nobody is limited."""

    settings: Settings
    authenticator: Authenticator
    limits: RateLimits | None
    idempotency: IdempotencyStore | None
    meter: RequestMeter


def bind(endpoint: Endpoint, parts: Parts) -> BoundHandler:
    """The coroutine that serves ``endpoint``; it answers every failure itself.

    It is given the path's values, and whether they are to be checked. What nearly every request
    goes through is written out in it, since each further coroutine costs half a µs.
    """
    admit = _admission(endpoint, parts)
    decode_query = query_decoder(endpoint.query) if endpoint.query is not None else None
    body_of, body_awaited = _reception(endpoint, parts)
    handler = endpoint.handler
    content_type = endpoint.reply_content_type
    run_once = _idempotent(endpoint, parts) if _replays(endpoint, parts) else None
    demands_key = endpoint.demands_key
    record = parts.meter.series(endpoint.method, endpoint.path).record

    async def handle(
        request: web.Request, path: Mapping[str, str], unchecked: bool = False
    ) -> web.StreamResponse:
        began = perf_counter()
        headers = request.headers
        current_trace.set(Trace(headers.get(_TRACEPARENT)))
        lines = ""
        try:
            caller, lines = admit(request)
            key = None
            if demands_key or (run_once is not None and _IDEMPOTENCY_KEY in headers):
                key = checked_key(headers.get(_IDEMPOTENCY_KEY))
            if unchecked:
                check_path(path)
            query = decode_query(request) if decode_query is not None else None
            body = body_of(request)
            if body is _ARRIVING:
                body = await body_awaited(request)
            call = Call(request, path, body, query, caller, key)
            reply = await (run_once if run_once is not None and key is not None else handler)(call)
            answer = _answer(reply, content_type) if isinstance(reply, Reply) else reply
        except ClientGone:
            record(499, perf_counter() - began)
            raise
        except asyncio.CancelledError:
            record(499, perf_counter() - began)
            raise
        except Exception as failure:  # the one place where a failure becomes an answer
            answer = _failed(failure, request, parts)
        if lines and isinstance(answer, Answer):
            answer.add_lines(lines)
        record(answer.status, perf_counter() - began)
        return answer

    return handle


def routed(handler: BoundHandler) -> RequestHandler:
    """``handler`` as aiohttp's router calls it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        path = request.match_info
        return await handler(request, path, bool(path))

    return handle


def _admission(
    endpoint: Endpoint, parts: Parts
) -> Callable[[web.Request], tuple[Caller | None, str]]:
    """Who calls, whether they may, and the header lines of their limit."""
    roles = endpoint.roles
    any_role = roles == ANY_ROLE
    assert endpoint.limit is None or not roles, f"{endpoint.path}: who signs in has the buyer's"
    limits = parts.limits
    own_limit = endpoint.limit
    authenticate = parts.authenticator.caller
    refusal = "This is for the role " + " or ".join(sorted(roles)) + "."

    def admit(request: web.Request) -> tuple[Caller | None, str]:
        left = limits.take_address(request) if limits is not None else 0
        if not roles:
            lines = limits.address_lines(left) if limits is not None else ""
            if limits is not None and own_limit is not None:
                lines += limits.take_attempt(request, own_limit)
            return None, lines
        caller = authenticate(request.headers.get(hdrs.AUTHORIZATION))
        if not any_role and caller.role not in roles:
            raise Forbidden(refusal)
        return caller, limits.take_caller(caller, left) if limits is not None else ""

    return admit


def _reception(
    endpoint: Endpoint, parts: Parts
) -> tuple[Callable[[web.Request], Any], Callable[[web.Request], Awaitable[Any]]]:
    """How the body comes in, decoded: at once, or else ``_ARRIVING`` and to be awaited."""
    decode = _decoding(endpoint)
    raw = endpoint.raw_body
    expected = endpoint.content_type
    bytes_max = endpoint.body_bytes_max or parts.settings.body_bytes_max
    timeout_seconds = parts.settings.body_timeout_seconds

    def at_once(request: web.Request) -> Any:
        if raw or request.body_exists:
            check_media_type(request.headers, expected)
        body = read_ready(request, bytes_max)
        return _ARRIVING if body is None else decode(body)

    async def awaited(request: web.Request) -> Any:
        return decode(await read_body(request, bytes_max, timeout_seconds))

    if raw or endpoint.reads_body:
        return at_once, awaited
    return lambda request: None, awaited


def _decoding(endpoint: Endpoint) -> Callable[[bytes], Any]:
    """From the body's bytes to what the handler is given.

    Where none is wanted, ``{}`` is as good as none, and anything else is refused: whoever sends it
    believes that it does something.
    """
    if endpoint.raw_body:
        return bytes
    type_ = endpoint.body or Nothing
    decode = body_decoder(type_)
    optional = may_be_empty(type_)

    def decode_or_empty(body: bytes) -> Any:
        if body:
            return decode(body)
        if optional:
            return decode(b"{}")
        raise MalformedRequest("A JSON body is wanted here.")

    return decode_or_empty


def _plain(endpoint: Endpoint) -> _Run:
    handler = endpoint.handler
    content_type = endpoint.reply_content_type

    async def run(call: Call) -> web.StreamResponse:
        reply = await handler(call)
        return _answer(reply, content_type) if isinstance(reply, Reply) else reply

    return run


def _replays(endpoint: Endpoint, parts: Parts) -> bool:
    return endpoint.idempotent or (endpoint.replays and parts.idempotency is not None)


def _idempotent(endpoint: Endpoint, parts: Parts) -> _Run:
    store = parts.idempotency
    assert store is not None, f"{endpoint.path} is idempotent, and no store for it was given"
    assert endpoint.roles, f"{endpoint.path} is idempotent, so it needs a caller"
    answered = _plain(endpoint)

    async def run(call: Call) -> Answer:
        canonical = call.body if isinstance(call.body, bytes) else _encode(call.body)
        assert call.idempotency_key is not None

        async def work() -> Answer:
            try:
                answer = await answered(call)
            except Exception as failure:  # an answer as well, to be remembered or not
                return _failed(failure, call.request, parts)
            assert isinstance(answer, Answer), "an idempotent call cannot stream"
            return answer

        return await answered_once(
            store,
            call.caller.account_id,
            call.idempotency_key,
            fingerprint_of(endpoint.method, call.request.path, canonical),
            work,
        )

    return run


def _answer(reply: Reply, content_type: str) -> Answer:
    body = reply.body
    headers = reply.headers
    if headers:
        headers = dict(headers)
        content_type = headers.pop("Content-Type", content_type)
        lines = header_lines(headers)
    else:
        lines = PRIVATE
    content = b"" if body is None else body if isinstance(body, bytes) else _encode(body)
    return Answer(reply.status, content, content_type=content_type, lines=lines)


def _failed(failure: Exception, request: web.Request, parts: Parts) -> Answer:
    answer = failure_answer(failure, instance=request.rel_url.raw_path)
    if answer.status >= 500:
        code = failure.code if isinstance(failure, FlashorderError) else "internal_error"
        parts.meter.record_failure(code)
    return answer
