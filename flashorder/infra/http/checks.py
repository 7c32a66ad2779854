"""What a request must pass before its handler sees it, decided once for each endpoint.

The checks are plain functions of what was received, so that one set of them serves the coroutine
that aiohttp's router calls (``binding``) and the direct calls (``direct``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
from aiohttp import StreamReader, hdrs, web
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDictProxy, istr

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.bodies import body_decoder, check_media_type, may_be_empty, read_ready
from flashorder.infra.http.bodies import read_body as read_arriving
from flashorder.infra.http.endpoint import ANY_ROLE, Caller, Endpoint
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.http.problems import failure_answer
from flashorder.infra.http.rate_limits import Peer, RateLimits
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.telemetry.metrics import RequestMeter
from flashorder.kernel.errors import FlashorderError, Forbidden, MalformedRequest
from flashorder.settings import Settings

Headers: TypeAlias = CIMultiDictProxy[str]
Admit: TypeAlias = Callable[[Headers, Peer], tuple[Caller | None, str]]

# multidict finds a header faster by a name that it need not fold again.
TRACEPARENT: Final = istr("traceparent")
IDEMPOTENCY_KEY: Final = istr("Idempotency-Key")
ARRIVING: Final = object()
"""Stands for a body that has to be awaited."""


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a call that takes none."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all endpoints of an application share; ``limits`` None: nobody is limited."""

    settings: Settings
    authenticator: Authenticator
    limits: RateLimits | None
    idempotency: IdempotencyStore | None
    meter: RequestMeter


def admission(endpoint: Endpoint, parts: Parts) -> Admit:
    """Who calls, whether they may, and the header lines of their limit; of headers and peer."""
    roles = endpoint.roles
    any_role = roles == ANY_ROLE
    assert endpoint.limit is None or not roles, f"{endpoint.path}: who signs in has the buyer's"
    limits = parts.limits
    own_limit = endpoint.limit
    authenticate = parts.authenticator.caller
    refusal = "This is for the role " + " or ".join(sorted(roles)) + "."

    def admit(headers: Headers, peer: Peer) -> tuple[Caller | None, str]:
        left_seconds = limits.take_address(headers, peer) if limits is not None else 0.0
        if not roles:
            lines = limits.address_lines(left_seconds) if limits is not None else ""
            if limits is not None and own_limit is not None:
                lines += limits.take_attempt(headers, peer, own_limit)
            return None, lines
        try:
            (token,) = headers.getall(hdrs.AUTHORIZATION)
        except KeyError:
            token = None
        except ValueError:  # whoever looked at it before us may have looked at the other
            raise MalformedRequest("There is more than one Authorization header.") from None
        caller = authenticate(token)
        if not any_role and caller.role not in roles:
            raise Forbidden(refusal)
        return caller, limits.take_caller(caller, left_seconds) if limits is not None else ""

    return admit


@dataclass(frozen=True, slots=True)
class Reception:
    """How the body comes in, decoded: ``at_once``, or else ``ARRIVING`` and to be awaited."""

    at_once: Callable[[Headers, StreamReader], Any]
    awaited: Callable[[web.Request], Awaitable[Any]]


def reception(endpoint: Endpoint, parts: Parts) -> Reception:
    """The reception of ``endpoint``; None is the body of a call that reads none."""
    decode = _decoding(endpoint)
    raw = endpoint.raw_body
    expected = endpoint.content_type
    bytes_max = endpoint.body_bytes_max or parts.settings.body_bytes_max
    timeout_seconds = parts.settings.body_timeout_seconds

    def at_once(headers: Headers, content: StreamReader) -> Any:
        if raw or content is not EMPTY_PAYLOAD:
            check_media_type(headers, expected)
        body = read_ready(content, bytes_max)
        return ARRIVING if body is None else decode(body)

    async def awaited(request: web.Request) -> Any:
        return decode(await read_arriving(request, bytes_max, timeout_seconds))

    if raw or endpoint.reads_body:
        return Reception(at_once, awaited)
    return Reception(lambda headers, content: None, awaited)


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


def failed(failure: Exception, instance: str, parts: Parts) -> Answer:
    """The answer to a failure, counted; ``instance`` is the path as it was sent."""
    answer = failure_answer(failure, instance=instance)
    if answer.status >= 500:
        code = failure.code if isinstance(failure, FlashorderError) else "internal_error"
        parts.meter.record_failure(code)
    return answer
