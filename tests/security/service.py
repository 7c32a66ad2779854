"""The whole service, started once and left alone: every role in one process beside the tests.

A process, and no thread: it goes on serving while tests, each with a loop of its own, come and go
and block, and neither its clock nor its dice are theirs. ``python -m tests.security.service`` is
that process; it ends when its standard input does, so it never outlives pytest.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop
from aiohttp import web

from flashorder.settings import Settings
from tests.journeys.system import free_port, running_roles
from tests.security.scene import Scene, build_scene

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 40
STOP_SECONDS_MAX = 20
# Nothing happens by the clock, so that whatever changes was changed by a call.
STANDING_STILL: dict[str, Any] = {
    "payment_silence_seconds": 3600,
    "tracking_silence_seconds": 3600,
    "reconciliation_interval_seconds": 3600,
}
# The limits of the front have tests of their own, with services of their own.
UNHURRIED: dict[str, Any] = {
    "address_requests_per_second": 1e6,
    "address_requests_burst": 1_000_000,
    "buyer_requests_per_second": 1e5,
    "buyer_requests_burst": 10_000,
    "login_attempts_per_address_per_minute": 60_000,
}
MODEST: dict[str, Any] = {
    "database_connections_max": 6,
    "provider_timeout_seconds": 1.0,
    "drain_linger_seconds": 0.1,
}


class Told(msgspec.Struct):
    """What the process says once it serves."""

    document: dict[str, Any]
    routes: list[tuple[str, str]]
    scene: Scene


class Service(msgspec.Struct, frozen=True):
    """Where it is, what it says of itself, and who and what is in it."""

    settings: Settings
    document: dict[str, Any]
    routes: frozenset[tuple[str, str]]
    scene: Scene

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.settings.port}"


@contextmanager
def running_service(
    redis_url: str, database_url: str, folder: Path, **changes: Any
) -> Iterator[Service]:
    """A service on two empty stores, with the scene in it; ``changes`` are settings."""
    web_port, payment_port, carrier_port = (free_port() for _ in range(3))
    named = {
        "redis_url": redis_url,
        "database_url": database_url,
        "data_dir": str(folder),
        "port": web_port,
        "payment_simulator_url": f"http://127.0.0.1:{payment_port}",
        "carrier_simulator_url": f"http://127.0.0.1:{carrier_port}",
        **STANDING_STILL,
        **UNHURRIED,
        **MODEST,
        **changes,
    }
    hearing, telling = os.pipe()
    with (folder / "service.log").open("wb") as log, os.fdopen(hearing, "rb") as ear:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", __name__, str(telling)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[telling],
        )
        os.close(telling)
        assert process.stdin is not None, "it was asked for"
        try:
            process.stdin.write(msgspec.json.encode(named) + b"\n")
            process.stdin.flush()
            line = ear.readline()
            assert line, (folder / "service.log").read_text()[-10_000:]
            told = msgspec.json.decode(line, type=Told)
            yield Service(Settings(**named), told.document, frozenset(told.routes), told.scene)
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS_MAX)
            finally:
                process.kill()
                process.wait()


async def _serve(settings: Settings, telling: int) -> None:
    ports = [
        int(url.rpartition(":")[2])
        for url in (settings.payment_simulator_url, settings.carrier_simulator_url)
    ]
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), stopping.set)
    async with (
        running_roles(settings, *ports) as app,
        aiohttp.ClientSession(f"http://127.0.0.1:{settings.port}") as http,
    ):
        async with asyncio.timeout(START_SECONDS_MAX), http.get("/openapi.json") as answer:
            document = await answer.json()
            scene = await build_scene(settings, http)
        with os.fdopen(telling, "wb") as mouth:
            mouth.write(msgspec.json.encode(Told(document, _routes(app), scene)) + b"\n")
        await stopping.wait()
    loop.remove_reader(sys.stdin.fileno())


def _routes(app: web.Application) -> list[tuple[str, str]]:
    return [
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    ]


if __name__ == "__main__":
    named = msgspec.json.decode(sys.stdin.buffer.raw.readline())  # type: ignore[attr-defined]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Settings(**named), int(sys.argv[1])))
