"""What operators and programs ask of every web role: health, readiness, metrics, the document."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Any, Final, Literal

import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.telemetry.metrics import EXPOSITION_TYPE, Metrics
from flashorder.kernel.errors import FieldError, FlashorderError, Unavailable

Check = Callable[[], Awaitable[None]]
"""Returns when a part is as it should be; raises a ``FlashorderError`` that says what is not."""

CHECK_TIMEOUT_SECONDS: Final = 2.0
READY_FRESH_SECONDS: Final = 1.0
HTML: Final = "text/html; charset=utf-8"


class Alive(msgspec.Struct):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(msgspec.Struct):
    """Every part that the service stands on answers, and is configured as promised."""

    status: Literal["ready"]
    checks: dict[str, Literal["ok"]]


def operations(
    metrics: Metrics, checks: Mapping[str, Check], document: Callable[[], bytes]
) -> list[Endpoint]:
    """The endpoints; ``document`` is asked at each call, as it describes these endpoints too."""
    page, policy = _docs_page()
    readiness = Readiness(checks)

    async def alive(call: Call) -> Reply:
        return Reply(200, Alive())

    async def ready(call: Call) -> Reply:
        return Reply(200, await readiness.read())

    async def exposition(call: Call) -> Reply:
        return Reply(200, metrics.exposition())

    async def openapi(call: Call) -> Reply:
        return Reply(200, document(), {"Cache-Control": "no-cache"})

    async def docs(call: Call) -> Reply:
        return Reply(200, page, {"Content-Security-Policy": policy, "Cache-Control": "no-cache"})

    return [
        Endpoint(
            "GET",
            "/healthz",
            alive,
            "Alive",
            "operations",
            replies={200: Alive},
            operational=True,
        ),
        Endpoint(
            "GET",
            "/readyz",
            ready,
            "Ready to serve",
            "operations",
            replies={200: Ready},
            operational=True,
            problems={503: ("not_ready",)},
            description="The stores are reachable and configured as promised.",
        ),
        Endpoint(
            "GET",
            "/metrics",
            exposition,
            "Metrics for Prometheus",
            "operations",
            replies={200: str},
            reply_content_type=EXPOSITION_TYPE,
            operational=True,
        ),
        Endpoint(
            "GET",
            "/openapi.json",
            openapi,
            "This document",
            "operations",
            replies={200: dict[str, Any]},
            operational=True,
        ),
        Endpoint(
            "GET",
            "/docs",
            docs,
            "This document for people",
            "operations",
            replies={200: str},
            reply_content_type=HTML,
            headers=("Content-Security-Policy",),
            operational=True,
        ),
    ]


class Readiness:
    """What the checks say, asked at most once in ``fresh_seconds`` however many want to know.

    Anybody may ask, and the checks are not for nothing: without this, asking is a way to keep the
    stores busy.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        fresh_seconds: float = READY_FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = -math.inf
        self._wrong: tuple[FieldError, ...] = ()

    async def read(self) -> Ready:
        """All hold; ``Unavailable`` (``not_ready``) names each that does not."""
        async with self._asking:
            if self._clock() - self._asked_at >= self._fresh_seconds:
                self._wrong = await self._ask()
                self._asked_at = self._clock()
        if self._wrong:
            names = ", ".join(finding.pointer.removeprefix("/") for finding in self._wrong)
            raise Unavailable(f"Not ready: {names}.", code="not_ready", fields=self._wrong)
        return Ready("ready", dict.fromkeys(self._checks, "ok"))

    async def _ask(self) -> tuple[FieldError, ...]:
        findings = await asyncio.gather(*(_finding(*each) for each in self._checks.items()))
        return tuple(finding for finding in findings if finding is not None)


async def _finding(name: str, check: Check) -> FieldError | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except FlashorderError as failure:
        return FieldError(f"/{name}", failure.code, failure.detail)
    except TimeoutError:
        return FieldError(f"/{name}", "timeout", f"no answer in {CHECK_TIMEOUT_SECONDS:g} s")
    return None


def _docs_page() -> tuple[bytes, str]:
    """The page and the policy that lets its own style and script run, and nothing else."""
    page = (resources.files(__package__) / "docs.html").read_text(encoding="utf-8")

    def hashes(element: str) -> str:
        found = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digests = (hashlib.sha256(text.encode()).digest() for text in found)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return page.encode(), (
        f"default-src 'none'; connect-src 'self'; script-src {hashes('script')}; "
        f"style-src {hashes('style')}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
