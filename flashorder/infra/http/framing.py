"""Heads that the parser takes and that two servers might still read in two ways: refused.

Whoever stands in front of this server reads each request as well. Where the two could disagree
about where it ends, or what it asks for, a stranger could put a request of theirs behind somebody
else's (RFC 9112, section 11.2). aiohttp's parser refuses nearly all of that; this is the rest. A
direct call has nothing of it: ``direct`` leaves whatever is not plain to the router.
"""

from __future__ import annotations

from collections.abc import Awaitable

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.http import RawRequestMessage

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.problems import problem_answer
from flashorder.infra.telemetry.tracing import Trace, current_trace


def is_the_last(message: RawRequestMessage) -> bool:
    """Whether its connection must serve nothing behind it, for the sake of aiohttp's parser.

    Which puts the last trailer of a chunked body among the headers of the next request, where a
    stranger's would become somebody else's; and drops what follows in the same segment where an
    upgrade is asked for that it does not know (h2c). 3.14.5 does; tests/security/test_smuggling.py
    holds that nothing comes of it.
    """
    return bool(message.chunked or message.upgrade)


def refuse_ambiguous(server: web.Server) -> None:
    """Have ``server`` refuse them before the application sees them."""
    handle = server.request_handler

    def look(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        wrong = _ambiguity(request)
        return handle(request) if wrong is None else _refused(request, wrong)

    server.request_handler = look


def _ambiguity(request: web.BaseRequest) -> str | None:
    if request.version not in (HttpVersion11, HttpVersion10):
        return "This is HTTP/1.1, or at least 1.0."
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING, None)
    # Empty, the parser would go by Content-Length; other codings it would leave as they are.
    if codings is not None and [each.lower() for each in codings] != ["chunked"]:
        return "Transfer-Encoding is chunked, and nothing else."
    if "#" in request.raw_path:
        return "A request target has no fragment."
    return None


async def _refused(request: web.BaseRequest, wrong: str) -> Answer:
    current_trace.set(Trace(request.headers.get("traceparent")))
    return problem_answer(
        400, "malformed_request", wrong, instance=request.rel_url.raw_path, closes=True
    )
