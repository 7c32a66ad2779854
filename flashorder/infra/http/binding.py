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
from time import perf_counter
from typing import TypeAlias

import msgspec
from aiohttp import web

from flashorder.infra.http.answers import PRIVATE, Answer, header_lines
from flashorder.infra.http.bodies import ClientGone, check_path, query_decoder
from flashorder.infra.http.checks import (
    ARRIVING,
    IDEMPOTENCY_KEY,
    TRACEPARENT,
    Parts,
    admission,
    failed,
    reception,
)
from flashorder.infra.http.connections import GuardedConnection
from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.http.idempotency import answered_once, checked_key, fingerprint_of
from flashorder.infra.http.rate_limits import Peer
from flashorder.infra.telemetry.tracing import Trace, current_trace

RequestHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Run: TypeAlias = Callable[[Call], Awaitable[web.StreamResponse]]
_encode = msgspec.json.Encoder().encode


def bind(endpoint: Endpoint, parts: Parts) -> RequestHandler:
    """The coroutine that serves ``endpoint``; it answers every failure itself.

    What nearly every request goes through is written out in it, since each further coroutine costs
    half a µs.
    """
    admit = admission(endpoint, parts)
    decode_query = query_decoder(endpoint.query) if endpoint.query is not None else None
    received = reception(endpoint, parts)
    body_at_once, body_awaited = received.at_once, received.awaited
    handler = endpoint.handler
    content_type = endpoint.reply_content_type
    run_once = _idempotent(endpoint, parts) if _replays(endpoint, parts) else None
    demands_key = endpoint.demands_key
    record = parts.meter.series(endpoint.method, endpoint.path).record

    async def handle(request: web.Request) -> web.StreamResponse:
        began = perf_counter()
        path = request.match_info
        headers = request.headers
        current_trace.set(Trace(headers.get(TRACEPARENT)))
        lines = ""
        try:
            caller, lines = admit(headers, _peer_of(request))
            key = None
            if demands_key or (run_once is not None and IDEMPOTENCY_KEY in headers):
                key = checked_key(headers.getall(IDEMPOTENCY_KEY, ()))
            if path:
                check_path(path)
            query = decode_query(request) if decode_query is not None else None
            body = body_at_once(headers, request.content)
            if body is ARRIVING:
                body = await body_awaited(request)
            call = Call(request, path, body, query, caller, key)
            reply = await (run_once if run_once is not None and key is not None else handler)(call)
            answer = as_answer(reply, content_type)
        except ClientGone:
            record(499, perf_counter() - began)
            raise
        except asyncio.CancelledError:
            record(499, perf_counter() - began)
            raise
        except Exception as failure:  # the one place where a failure becomes an answer
            answer = failed(failure, request.rel_url.raw_path, parts)
        if lines and isinstance(answer, Answer):
            answer.add_lines(lines)
        record(answer.status, perf_counter() - began)
        return answer

    return handle


def _peer_of(request: web.Request) -> Peer:
    connection = request.protocol
    if isinstance(connection, GuardedConnection):
        return connection.peer
    return Peer(request.remote or "")  # the application runs behind another server


def _plain(endpoint: Endpoint) -> _Run:
    handler = endpoint.handler
    content_type = endpoint.reply_content_type

    async def run(call: Call) -> web.StreamResponse:
        reply = await handler(call)
        return as_answer(reply, content_type)

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
                return failed(failure, call.request.rel_url.raw_path, parts)
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


def as_answer(reply: Reply | web.StreamResponse, content_type: str) -> web.StreamResponse:
    """What a handler returned, as what aiohttp sends."""
    if not isinstance(reply, Reply):
        return reply
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
