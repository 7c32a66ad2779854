"""Serving an application on a port until told to stop, within bounds."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from flashorder.infra.http.connections import Connections, GuardedConnection
from flashorder.infra.http.direct import DIRECT, DirectCalls, DirectConnection
from flashorder.infra.open_files import connections_possible
from flashorder.kernel.errors import Misconfigured
from flashorder.settings import Settings

log = structlog.get_logger(__name__)
FEW_CONNECTIONS = 1_000
LISTEN_BACKLOG = 4096
# What a client that was refused in the middle of its body may still send before it is cut off.
LINGERING_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server answers."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a client writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


async def serve(
    app: web.Application,
    settings: Settings,
    stopping: asyncio.Event,
    *,
    port: int | None = None,
    shared_port: bool = False,
    share_of_connections: int = 1,
    on_ready: Callable[[Listening], None] = lambda listening: None,
) -> None:
    """Serve ``app`` until ``stopping`` is set, then drain and return.

    ``port`` overrides the settings' (0: any free one); with ``shared_port`` other processes may
    listen on it as well (SO_REUSEPORT), and the caps on connections are divided by
    ``share_of_connections``; the limit of open files caps them as well. Draining: no new
    connections, idle ones closed, requests in flight answered (with ``Connection: close``) for up
    to ``drain_timeout_seconds``.

    Raises ``Misconfigured`` when the port cannot be had.
    """
    loop = asyncio.get_running_loop()
    connections = Connections(
        total_max=_connections_max(max(1, settings.connections_max // share_of_connections)),
        per_address_max=max(1, settings.connections_per_address_max // share_of_connections),
        header_timeout_seconds=settings.header_timeout_seconds,
    )
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=settings.drain_timeout_seconds,
    )
    await runner.setup()
    try:
        server = runner.server
        assert server is not None, "set up a line above"
        _mark_complete_heads(server)
        direct_calls = app[DIRECT] if DIRECT in app else DirectCalls()

        def connection() -> DirectConnection:
            return DirectConnection(
                server,
                connections,
                direct_calls,
                loop=loop,
                access_log=None,
                auto_decompress=False,
                keepalive_timeout=settings.keepalive_timeout_seconds,
                lingering_time=LINGERING_SECONDS,
            )

        listener = await _listen(
            connection, settings.host, settings.port if port is None else port, shared_port
        )
        sweeper = asyncio.create_task(_sweep(connections), name="overdue request heads")
        try:
            host, bound_port = listener.sockets[0].getsockname()[:2]
            on_ready(Listening(host, bound_port))
            await stopping.wait()
        finally:
            # What the kernel has accepted already is served, not reset.
            await asyncio.sleep(0)
            listener.close()
            sweeper.cancel()
            await asyncio.wait({sweeper})
    finally:
        await runner.cleanup()


def _connections_max(wanted: int) -> int:
    """``wanted``, or as many as there can be: who comes beyond is refused, not left to wait."""
    possible = connections_possible()
    if possible >= wanted:
        return wanted
    tell = log.warning if possible < FEW_CONNECTIONS else log.info
    tell(
        "connections_capped",
        wanted=wanted,
        possible=int(possible),
        mend="raise the hard limit of open files (ulimit -Hn, LimitNOFILE)",
    )
    return int(possible)


def _mark_complete_heads(server: web.Server) -> None:
    """aiohttp makes a request object when its head is complete: that is the signal."""
    make_request = server.request_factory

    def make(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        protocol.head_is_complete()
        return make_request(message, payload, protocol, writer, task)

    server.request_factory = make


async def _listen(
    connection: Callable[[], GuardedConnection], host: str, port: int, shared_port: bool
) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(
            connection,
            host,
            port,
            backlog=LISTEN_BACKLOG,
            reuse_address=True,
            reuse_port=shared_port or None,
        )
    except OSError as error:
        raise port_failure(host, port, error) from None


async def _sweep(connections: Connections) -> None:
    """Close overdue connections; late by at most a tenth of the deadline."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(connections.header_timeout_seconds / 10)
        late = connections.close_late(loop.time())
        if late:
            log.info("request_heads_overdue", connections=late)


def reserve_port(host: str, port: int) -> socket.socket:
    """A bound socket that holds ``port`` for processes which share it; it does not listen.

    Binding alone receives nothing, but keeps the number, finds one for port 0, and fails when
    somebody else listens there. Raises ``Misconfigured``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port:
        _check_free(family, host, port)
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
    except OSError as error:
        holder.close()
        raise port_failure(host, port, error) from None
    return holder


def _check_free(family: socket.AddressFamily, host: str, port: int) -> None:
    """Bind without sharing: a foreign server that shares its port would not be noticed else."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise port_failure(host, port, error) from None


def port_failure(host: str, port: int, error: OSError) -> Misconfigured:
    """Why nothing can listen there, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return Misconfigured(
            f"port {port} of {host} is taken: stop who listens there, or set FLASHORDER_PORT to "
            "another (0: any free one)"
        )
    return Misconfigured(f"cannot listen on {host}, port {port}: {error.strerror or error}")
