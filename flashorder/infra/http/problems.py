"""Failures as RFC 9457 problem details: the one place that knows which failure has which status."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final

import msgspec
import structlog
from aiohttp import web

from flashorder.infra.http.answers import PRIVATE, Answer
from flashorder.infra.http.rate_limits import LimitReached
from flashorder.infra.telemetry.tracing import trace_id
from flashorder.kernel import errors
from flashorder.kernel.errors import FieldError, FlashorderError

log = structlog.get_logger(__name__)

PROBLEM_JSON: Final = "application/problem+json"
PROBLEMS_REMEMBERED_MAX: Final = 256
TYPE_BASE: Final = "https://flashorder.dev/problems/"

# The most specific class of a failure decides.
STATUS_OF: Final[dict[type[FlashorderError], int]] = {
    errors.MalformedRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.InvalidInput: 422,
    errors.Locked: 423,
    errors.TooEarly: 425,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    FlashorderError: 500,
}

# A caller that may come again is told when; seconds, where the failure itself names none.
RETRY_AFTER_SECONDS: Final = {425: 1.0, 429: 1.0, 503: 2.0}


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457 problem details; ``code`` is for programs, ``detail`` for people."""

    type: str
    code: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    trace_id: str = ""
    errors: list[FieldError] = []


class RequestTimeout(FlashorderError):
    """The request did not arrive in time."""

    default_code = "request_timeout"


class MethodNotAllowed(FlashorderError):
    """This method is not offered here."""

    default_code = "method_not_allowed"


STATUS_OF[RequestTimeout] = 408
STATUS_OF[MethodNotAllowed] = 405


def status_of(failure: type[FlashorderError]) -> int:
    """The HTTP status of a class of failures."""
    status = STATUS_OF.get(failure)
    if status is None:
        status = next(STATUS_OF[each] for each in failure.__mro__ if each in STATUS_OF)
    return status


@cache
def title_of(code: str) -> str:
    """``sold_out`` as people read it: the same for every occurrence, as RFC 9457 wants it."""
    return code.replace("_", " ").capitalize()


@lru_cache(maxsize=PROBLEMS_REMEMBERED_MAX)
def _begun(status: int, code: str, detail: str, instance: str) -> bytes:
    """What a problem says before its trace id, without the brace at the end.

    In a rush, thousands a second are refused in the same words.
    """
    problem = Problem(TYPE_BASE + code, code, title_of(code), status, detail, instance)
    return msgspec.json.encode(problem)[:-1]


def problem_answer(
    status: int,
    code: str,
    detail: str,
    *,
    instance: str = "",
    fields: tuple[FieldError, ...] = (),
    retry_after_seconds: float | None = None,
    lines: str = "",
    closes: bool = False,
) -> Answer:
    """An answer that carries a problem; ``lines`` are further header lines."""
    begun = _begun(status, code, detail, instance)
    errors_text = b',"errors":' + msgspec.json.encode(fields) if fields else b""
    wait_seconds = retry_after_seconds or RETRY_AFTER_SECONDS.get(status)
    if wait_seconds is not None:
        lines += f"Retry-After: {max(1, math.ceil(wait_seconds))}\r\n"
    return Answer(
        status,
        b'%b,"trace_id":"%b"%b}' % (begun, trace_id().encode(), errors_text),
        content_type=PROBLEM_JSON,
        lines=PRIVATE + lines,
        closes=closes,
    )


def failure_answer(failure: BaseException, *, instance: str = "", lines: str = "") -> Answer:
    """What the caller hears of ``failure``; of one that nobody foresaw, only its trace id."""
    if isinstance(failure, FlashorderError):
        status = status_of(type(failure))
        if status == 401:
            lines += _challenge(failure)
        if isinstance(failure, LimitReached):
            lines += failure.header_lines
        if status == 503:
            refusals.tell(failure)
        elif status == 500:
            _log(failure)
        return problem_answer(
            status,
            failure.code,
            failure.detail if status != 500 else "Something went wrong inside flashorder.",
            instance=instance,
            fields=failure.fields,
            retry_after_seconds=failure.retry_after_seconds,
            lines=lines,
            # The rest of such a body is still on its way: the connection cannot serve another.
            closes=status in (408, 413),
        )
    if isinstance(failure, web.HTTPException):
        return http_exception_answer(failure, instance=instance)
    _log(failure)
    return problem_answer(
        500,
        "internal_error",
        "Something went wrong inside flashorder.",
        instance=instance,
        lines=lines,
    )


_CODES_OF_AIOHTTP: Final = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    417: "expectation_failed",
}


def http_exception_answer(failure: web.HTTPException, *, instance: str = "") -> Answer:
    """aiohttp's own refusals as problems; headers that matter (Allow) are kept."""
    status = failure.status
    allow = failure.headers.get("Allow")
    return problem_answer(
        status,
        _CODES_OF_AIOHTTP.get(status, failure.reason.lower().replace(" ", "_")),
        failure.reason,
        instance=instance,
        lines=f"Allow: {allow}\r\n" if allow else "",
        closes=status == 413,
    )


# What a bearer token that was presented can be told (RFC 6750, section 3.1).
_WRONG_TOKEN: Final = frozenset({"token_invalid", "token_expired"})


def _challenge(failure: FlashorderError) -> str:
    """RFC 6750, section 3: what kind of credentials are wanted, and what was wrong with these."""
    error = (
        f', error="invalid_token", error_description="{failure.code}"'
        if failure.code in _WRONG_TOKEN
        else ""
    )
    return f'WWW-Authenticate: Bearer realm="flashorder"{error}\r\n'


class RefusalLog:
    """At most one line a second for each code: an outage refuses tens of thousands a second.

    ``count`` is how many were refused since the line before; the metrics have every one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}

    def tell(self, failure: FlashorderError) -> None:
        """Count a refusal, and write it down if it is time."""
        now = self._clock()
        told_at, untold = self._told.get(failure.code, (-math.inf, 0))
        if now - told_at < 1:
            self._told[failure.code] = told_at, untold + 1
            return
        self._told[failure.code] = now, 0
        log.warning(
            "requests_refused",
            code=failure.code,
            count=untold + 1,
            error=repr(failure),
            trace_id=trace_id(),
        )


refusals: Final = RefusalLog()


def _log(failure: BaseException) -> None:
    log.error("request_failed", trace_id=trace_id(), exc_info=failure)
