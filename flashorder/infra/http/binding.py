"""From an ``Endpoint`` record to the coroutine that aiohttp calls.

Everything that can be decided at the start is decided there: each endpoint gets one coroutine whose
steps are plain functions; no middleware, no reflection and no log line stand between a good request
and its handler. The order of the checks is the order of their cost and of what a stranger may
learn: address limit (429), token (401), role (403), buyer's limit (429), idempotency key (400),
path (404), query (422), body (408, 413, 415, 400, 422), then the handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from flashorder.infra.http.answers import PRIVATE, Answer, header_lines
from flashorder.infra.http.bodies import (
    ClientGone,
    body_decoder,
    check_media_type,
    check_path,
    may_be_empty,
    query_decoder,
    read_body,
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
_Run: TypeAlias = Callable[[Call], Awaitable[web.StreamResponse]]
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Parts:
    """What all endpoints of an application share; ``limits`` None: nobody is limited."""

    settings: Settings
    authenticator: Authenticator
    limits: RateLimits | None
    idempotency: IdempotencyStore | None
    meter: RequestMeter


def bind(endpoint: Endpoint, parts: Parts) -> RequestHandler:
    """The coroutine that serves ``endpoint``; it answers every failure itself."""
    admit = _admission(endpoint, parts)
    decode_query = query_decoder(endpoint.query) if endpoint.query is not None else None
    receive = _reception(endpoint, parts)
    run = _plain(endpoint)
    run_once = _idempotent(endpoint, parts) if _replays(endpoint, parts) else None
    demands_key = endpoint.demands_key
    record = parts.meter.series(endpoint.method, endpoint.path).record

    async def handle(request: web.Request) -> web.StreamResponse:
        began = perf_counter()
        headers = request.headers
        current_trace.set(Trace(headers.get("traceparent")))
        lines = ""
        try:
            caller, lines = admit(request)
            key = None
            if demands_key or (run_once is not None and "Idempotency-Key" in headers):
                key = checked_key(headers.get("Idempotency-Key"))
            path = request.match_info
            if path:
                check_path(path)
            query = decode_query(request) if decode_query is not None else None
            body = await receive(request) if receive is not None else None
            call = Call(request, path, body, query, caller, key)
            answer = await (run_once or run)(call) if key is not None else await run(call)
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
        caller = authenticate(request.headers.get("Authorization"))
        if not any_role and caller.role not in roles:
            raise Forbidden(refusal)
        return caller, limits.take_caller(caller, left) if limits is not None else ""

    return admit


def _reception(endpoint: Endpoint, parts: Parts) -> Callable[[web.Request], Awaitable[Any]] | None:
    """How the body comes in: decoded, raw, or not at all.

    Where none is wanted, ``{}`` is as good as none, and anything else is refused: whoever sends it
    believes that it does something.
    """
    expected = endpoint.content_type
    bytes_max = endpoint.body_bytes_max or parts.settings.body_bytes_max
    timeout_seconds = parts.settings.body_timeout_seconds

    async def receive_raw(request: web.Request) -> bytes:
        check_media_type(request.headers, expected)
        return await read_body(request, bytes_max, timeout_seconds)

    if endpoint.raw_body:
        return receive_raw
    if not endpoint.reads_body:
        return None
    type_ = endpoint.body or Nothing
    decode = body_decoder(type_)
    optional = may_be_empty(type_)

    async def receive(request: web.Request) -> Any:
        if not request.body_exists and optional:
            return decode(b"{}")
        if request.body_exists:
            check_media_type(request.headers, expected)
        body = await read_body(request, bytes_max, timeout_seconds)
        if body:
            return decode(body)
        if optional:
            return decode(b"{}")
        raise MalformedRequest("A JSON body is wanted here.")

    return receive


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
