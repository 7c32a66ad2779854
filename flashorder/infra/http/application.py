"""The aiohttp application, made of endpoint records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from aiohttp import hdrs, web

from flashorder.infra.http.binding import RequestHandler, bind
from flashorder.infra.http.checks import Parts
from flashorder.infra.http.direct import DIRECT, DirectCalls
from flashorder.infra.http.endpoint import Endpoint
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.http.openapi import openapi_document, route_template
from flashorder.infra.http.operations import Check, operations
from flashorder.infra.http.problems import MethodNotAllowed, failure_answer
from flashorder.infra.http.rate_limits import RateLimits
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.infra.telemetry.tracing import Trace, current_trace
from flashorder.kernel.errors import NotFound
from flashorder.settings import Settings

EVENT_STREAM = "text/event-stream"
UNMATCHED = "unmatched"
METRICS: web.AppKey[Metrics] = web.AppKey("metrics", Metrics)
"""Where an application keeps the metrics it was built with."""


def build_application(
    endpoints: Iterable[Endpoint],
    *,
    settings: Settings,
    authenticator: Authenticator,
    idempotency: IdempotencyStore | None = None,
    checks: Mapping[str, Check] | None = None,
    metrics: Metrics | None = None,
) -> web.Application:
    """An application that serves ``endpoints`` and the operations of every web role.

    ``checks`` are what ``/readyz`` asks; without an ``idempotency`` store no endpoint may be
    idempotent. Nothing connects here; who passes the parts in closes them.
    """
    metrics = metrics if metrics is not None else Metrics()
    if settings.worker_index is not None:
        metrics.add_labels(worker=str(settings.worker_index))
    served = list(endpoints)

    def document() -> bytes:
        return encoded

    everything = [*served, *operations(metrics, checks or {}, document)]
    encoded = msgspec.json.encode(openapi_document(everything))
    app = web.Application(
        # The binding has bounds of its own, per endpoint; this one is for handlers that stream.
        client_max_size=max(
            [settings.body_bytes_max, *(each.body_bytes_max or 0 for each in served)]
        )
    )
    app[METRICS] = metrics
    limited = Parts(settings, authenticator, RateLimits(settings), idempotency, metrics.requests)
    unlimited = Parts(settings, authenticator, None, None, metrics.requests)
    direct = app[DIRECT] = DirectCalls()
    for endpoint in everything:
        its_parts = unlimited if endpoint.operational else limited
        _add(app, endpoint, bind(endpoint, its_parts))
        if endpoint.direct is not None:
            direct.add(endpoint, its_parts)
    app.router.add_route("*", "/{path:.*}", _fallback(app, metrics))
    app.on_response_prepare.append(_as_answers_say)
    return app


async def _as_answers_say(request: web.Request, response: web.StreamResponse) -> None:
    """What a handler writes itself (an event stream) has the head of every ``Answer``."""
    response.headers.popall(hdrs.SERVER, None)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def _add(app: web.Application, endpoint: Endpoint, handler: RequestHandler) -> None:
    template = route_template(endpoint.path)
    for resource in app.router.resources():
        if resource.canonical == template:
            methods = {route.method for route in resource}
            assert endpoint.method not in methods, f"{endpoint.method} {template} is there twice"
    app.router.add_route(endpoint.method, endpoint.path, handler)
    # RFC 9110, section 9.3.2: what can be got can be asked after, except where it never ends.
    if endpoint.method == "GET" and endpoint.reply_content_type != EVENT_STREAM:
        app.router.add_route("HEAD", endpoint.path, handler)


def _fallback(app: web.Application, metrics: Metrics) -> RequestHandler:
    """What answers when no endpoint does: 405 where the path is known, else 404."""
    record = metrics.requests.series("*", UNMATCHED).record

    async def answer(request: web.Request) -> web.StreamResponse:
        current_trace.set(Trace(request.headers.get("traceparent")))
        allowed: set[str] = set()
        for resource in app.router.resources():
            _, methods = await resource.resolve(request)
            allowed |= methods
        instance = request.rel_url.raw_path
        # The fallback itself is among the resources, and allows everything.
        allowed.discard("*")
        if allowed:
            failure = failure_answer(
                MethodNotAllowed(f"{request.method} is not offered here."),
                instance=instance,
                lines=f"Allow: {', '.join(sorted(allowed))}\r\n",
            )
        else:
            failure = failure_answer(NotFound("There is nothing here."), instance=instance)
        record(failure.status, 0.0)
        return failure

    return answer
