"""Serving an application on a port until told to stop, within bounds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

import structlog
from aiohttp import web

from flashorder.infra.http.accepting import Accepting
from flashorder.infra.http.connection_bounds import Connections
from flashorder.infra.http.connections import GuardedConnection
from flashorder.infra.http.direct import DIRECT, DirectCalls, DirectConnection
from flashorder.infra.http.draining import Draining
from flashorder.infra.http.framing import is_the_last, refuse_ambiguous
from flashorder.infra.http.listening import LISTEN_BACKLOG, Listening, port_failure
from flashorder.infra.http.pressure import Pressure, Refusals
from flashorder.infra.open_files import connections_possible
from flashorder.settings import Settings

log = structlog.get_logger(__name__)
FEW_CONNECTIONS = 1_000
# What a client that was refused in the middle of its body may still send before it is cut off.
LINGERING_SECONDS = 2.0


async def serve(
    app: web.Application,
    settings: Settings,
    stopping: asyncio.Event,
    *,
    port: int | None = None,
    shared: socket.socket | None = None,
    share_of_connections: int = 1,
    on_ready: Callable[[Listening], None] = lambda listening: None,
    on_leaving: Callable[[], None] = lambda: None,
) -> None:
    """Serve ``app`` until ``stopping`` is set, then drain and return.

    ``port`` overrides the settings' (0: any free one); ``shared`` is a bound socket to serve on
    instead, which its owner keeps for who comes after. The caps on connections are divided by
    ``share_of_connections``; the limit of open files caps them as well. Draining, from
    ``on_leaving`` on: requests in flight or on their way are answered with ``Connection: close``,
    what the kernel has accepted included, and silent connections are closed after a while; see
    ``Draining``. All of it takes ``drain_timeout_seconds`` at most.

    Raises ``Misconfigured`` when the port cannot be had.
    """
    loop = asyncio.get_running_loop()
    connections = Connections(
        total_max=_connections_max(max(1, settings.connections_max // share_of_connections)),
        per_address_max=max(1, settings.connections_per_address_max // share_of_connections),
        header_timeout_seconds=settings.header_timeout_seconds,
        write_timeout_seconds=settings.write_timeout_seconds,
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
        refuse_ambiguous(server)
        direct_calls = app[DIRECT] if DIRECT in app else DirectCalls()
        pressure = Pressure(
            # A batch that flies, and the next that gathers.
            always=2 * settings.batch_purchases_max,
            wait_seconds_max=settings.purchase_wait_seconds_max,
            clock=loop.time,
        )
        refusals = Refusals(loop, settings.purchase_wait_seconds_max)

        def connection() -> DirectConnection:
            return DirectConnection(
                server,
                connections,
                direct_calls,
                pressure,
                refusals,
                loop=loop,
                access_log=None,
                auto_decompress=False,
                keepalive_timeout=settings.keepalive_timeout_seconds,
                lingering_time=LINGERING_SECONDS,
            )

        draining = Draining(server, connection)
        accepting = Accepting(draining.connection)
        listener = await _listen(
            accepting.connection, settings.host, settings.port if port is None else port, shared
        )
        sweeper = asyncio.create_task(_sweep(connections, server), name="overdue connections")
        try:
            accepting.listener = listener
            host, bound_port = listener.sockets[0].getsockname()[:2]
            on_ready(Listening(host, bound_port))
            await stopping.wait()
            on_leaving()
            await draining.drain(
                listener,
                runner.shutdown,
                accepting.settled,
                timeout_seconds=settings.drain_timeout_seconds,
                linger_seconds=settings.drain_linger_seconds,
                relieved=shared is not None,
            )
        finally:
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
        if is_the_last(message):
            protocol.closing = True
        return make_request(message, payload, protocol, writer, task)

    server.request_factory = make


async def _listen(
    connection: Callable[[], GuardedConnection],
    host: str,
    port: int,
    shared: socket.socket | None,
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    if shared is not None:
        return await loop.create_server(connection, sock=shared, backlog=LISTEN_BACKLOG)
    try:
        return await loop.create_server(
            connection, host, port, backlog=LISTEN_BACKLOG, reuse_address=True
        )
    except OSError as error:
        raise port_failure(host, port, error) from None


async def _sweep(connections: Connections, server: web.Server) -> None:
    """Close overdue connections; late by at most a tenth of the shorter deadline."""
    loop = asyncio.get_running_loop()
    deadlines = connections.header_timeout_seconds, connections.write_timeout_seconds
    while True:
        await asyncio.sleep(min(deadlines) / 10)
        now = loop.time()
        late = connections.close_late(now)
        late += sum(
            each.close_if_inside_a_head(now)
            for each in cast("list[GuardedConnection]", server.connections)
        )
        if late:
            log.info("request_heads_overdue", connections=late)
        unread = connections.abort_not_read(now)
        if unread:
            log.info("answers_not_read", connections=unread)
