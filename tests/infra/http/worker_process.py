"""One of several web workers: ``python -m tests.infra.http.worker_process PARENT_PID LISTENER``."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import msgspec

from flashorder.infra.http.application import build_application
from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.http.server import serve
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.http.worker_process import LEAVING, UP, tell_parent
from flashorder.infra.parent_death import end_with_parent
from tests.infra.http.serving import make_settings


class Numbered(msgspec.Struct):
    """What comes back as it was."""

    number: int


async def who(call: Call) -> Reply:
    """Which worker answers."""
    return Reply(200, {"pid": os.getpid()}, {"Connection": "close"})


async def echo(call: Call) -> Reply:
    """The number, and which worker answers, a moment later."""
    assert isinstance(call.body, Numbered)
    await asyncio.sleep(0.001 * (call.body.number % 10))
    return Reply(200, {"number": call.body.number, "pid": os.getpid()})


def socket_of_its_own(port: int) -> socket.socket:
    """What every worker would open by itself, were there no parent that keeps the sockets."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(("127.0.0.1", port))
    return own


async def main(listener: socket.socket) -> None:
    """Serve until told to stop; exit code 3 where the environment says so."""
    if os.environ.get("WORKER_FAILS"):
        sys.exit(int(os.environ["WORKER_FAILS"]))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    # Clients that come back late, on a machine that is busy, are no failure of ours.
    settings = make_settings(drain_timeout_seconds=40.0, drain_linger_seconds=20.0)
    app = build_application(
        [
            Endpoint("GET", "/who", who, "s", "t", replies={200: dict[str, int]}),
            Endpoint("POST", "/echo", echo, "s", "t", body=Numbered, replies={200: dict[str, int]}),
        ],
        settings=settings,
        authenticator=Authenticator.of(settings),
    )
    await serve(
        app,
        settings,
        stopping,
        shared=listener,
        on_ready=lambda listening: tell_parent(UP),
        on_leaving=lambda: tell_parent(LEAVING),
    )


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    given = socket.socket(fileno=int(sys.argv[2]))
    if os.environ.get("WORKER_OWN_SOCKET"):
        port = given.getsockname()[1]
        given.close()
        given = socket_of_its_own(port)
    asyncio.run(main(given))
