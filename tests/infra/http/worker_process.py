"""One of several web workers: ``python -m tests.infra.http.worker_process PORT PARENT_PID``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from flashorder.infra.http.application import build_application
from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.http.server import serve
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.parent_death import end_with_parent
from tests.infra.http.serving import make_settings


async def who(call: Call) -> Reply:
    """Which worker answers."""
    return Reply(200, {"pid": os.getpid()}, {"Connection": "close"})


async def main(port: int) -> None:
    """Serve until told to stop; exit code 3 where the environment says so."""
    if os.environ.get("WORKER_FAILS"):
        sys.exit(int(os.environ["WORKER_FAILS"]))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    settings = make_settings()
    app = build_application(
        [Endpoint("GET", "/who", who, "s", "t", replies={200: dict[str, int]})],
        settings=settings,
        authenticator=Authenticator.of(settings),
    )
    await serve(
        app,
        settings,
        stopping,
        port=port,
        shared_port=True,
        on_ready=lambda listening: print("up", flush=True),  # noqa: T201 - what the parent reads
    )


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    asyncio.run(main(int(sys.argv[1])))
