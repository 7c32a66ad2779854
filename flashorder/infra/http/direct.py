"""Calls that are found before aiohttp's router is asked.

Resolving a path through ``web.Application`` costs several µs, which is more than a whole purchase
may lose. A direct call is looked up in a memo of the raw request target and handled at once;
whatever is not plainly one of these (another method, an escape, a query, an ``Expect``) goes to the
application as ever, which has the same calls as routes. ``web.Server.request_handler`` is where
this is put in front; tests/infra/http/test_direct.py fails when aiohttp does not ask it any more.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from aiohttp import hdrs, web

from flashorder.infra.http.bodies import PATH_VALUE_CHARACTERS_MAX
from flashorder.infra.http.endpoint import Endpoint

TARGETS_REMEMBERED_MAX: Final = 1024
_NAME: Final = re.compile(r"\\\{(\w+)\\\}")
# Nothing that is spelt in two ways, and nothing that ``check_path`` would refuse.
_VALUE: Final = rf"(?P<\1>[A-Za-z0-9_-]{{1,{PATH_VALUE_CHARACTERS_MAX}}})"

PathHandler: TypeAlias = Callable[[web.Request, Mapping[str, str]], Awaitable[web.StreamResponse]]


class DirectCalls:
    """Handlers by method and path; ``in_front_of`` puts them before another handler."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, re.Pattern[str], PathHandler]] = []

    def add(self, endpoint: Endpoint, handler: PathHandler) -> None:
        """Serve ``endpoint`` by ``handler``, which need not check the values of the path."""
        pattern = re.compile(_NAME.sub(_VALUE, re.escape(endpoint.path)))
        self._calls.append((endpoint.method, pattern, handler))

    def _find(self, method: str, target: str) -> tuple[PathHandler, Mapping[str, str]] | None:
        for its_method, pattern, handler in self._calls:
            if method == its_method and (match := pattern.fullmatch(target)):
                return handler, MappingProxyType(match.groupdict())
        return None

    def in_front_of(
        self, otherwise: Callable[[Any], Awaitable[web.StreamResponse]]
    ) -> Callable[[Any], Awaitable[web.StreamResponse]]:
        """A handler of requests that tries these first."""
        methods = frozenset(method for method, _, _ in self._calls)
        find = lru_cache(maxsize=TARGETS_REMEMBERED_MAX)(self._find)

        def handle(request: web.Request) -> Awaitable[web.StreamResponse]:
            method = request.method
            if method in methods:
                found = find(method, request.raw_path)
                # aiohttp's application answers expectations (100-continue, 417).
                if found is not None and hdrs.EXPECT not in request.headers:
                    return found[0](request, found[1])
            return otherwise(request)

        return handle


DIRECT: web.AppKey[DirectCalls] = web.AppKey("direct", DirectCalls)
"""Where an application keeps them."""
