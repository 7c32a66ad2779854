"""How a server ends without a request failing: a connection's last word is said in an answer.

A client cannot know that its idle connection is about to be closed; a request that crosses the
closing is lost (RFC 9112, section 9.6). So whoever is connected may send one more request, whose
answer says ``Connection: close``, before those who stayed silent are closed.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, cast

from aiohttp import web

from flashorder.infra.http.connections import GuardedConnection
from flashorder.infra.http.listening import accept_waiting

# How long a worker that has a parent goes on accepting: until new connections are sent elsewhere.
RELIEF_SECONDS: Final = 0.25
POLL_SECONDS: Final = 0.02


class Draining:
    """The end of ``server``, whose connections ``make`` makes."""

    def __init__(self, server: web.Server, make: Callable[[], GuardedConnection]) -> None:
        self._server = server
        self._make = make
        self._begun = False

    def connection(self) -> GuardedConnection:
        """A connection, before or during the draining."""
        made = self._make()
        made.closing = self._begun
        return made

    async def drain(
        self,
        listener: asyncio.Server,
        end_streams: Callable[[], Awaitable[None]],
        taken: Callable[[], Awaitable[None]],
        *,
        timeout_seconds: float,
        linger_seconds: float,
        relieved: bool,
    ) -> None:
        """Answer what is in flight or arrives, and return when everybody has gone.

        ``relieved``: somebody else takes the new connections, and is given the time to begin.
        A connection that stays silent for ``linger_seconds`` is closed. ``end_streams`` is awaited
        when only what takes long, or never ends by itself, is left; ``taken`` when no more is
        accepted: it returns when all that was is a connection. What is unanswered after
        ``timeout_seconds`` is cut off.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_seconds
        self._begun = True
        for each in self._connections():
            each.closing = True
        if relieved:
            await asyncio.sleep(min(RELIEF_SECONDS, timeout_seconds))
        await self._stop_accepting(listener)
        await taken()
        linger_until = clock() + linger_seconds
        while clock() < deadline:
            waiting = [each for each in self._connections() if each.awaits_request]
            if not waiting:
                break
            if clock() >= linger_until:
                _close_silent(waiting)
            await asyncio.sleep(POLL_SECONDS)
        self._server.pre_shutdown()
        await end_streams()
        # To aiohttp no time at all would be no end.
        await self._server.shutdown(max(POLL_SECONDS, deadline - clock()))

    def _connections(self) -> list[GuardedConnection]:
        return cast("list[GuardedConnection]", self._server.connections)

    async def _stop_accepting(self, listener: asyncio.Server) -> None:
        """Close the listening sockets, but serve what the kernel has accepted already."""
        copies = [socket.socket(fileno=os.dup(each.fileno())) for each in listener.sockets]
        listener.close()
        waiting = []
        for each in copies:
            # Nothing between the last look and the closing: what comes in between is reset.
            waiting += accept_waiting(each)
            each.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(self.connection, connection)


def _close_silent(connections: Iterable[GuardedConnection]) -> None:
    """Close those that have sent nothing: not even what the kernel holds and nobody has read."""
    silent: dict[int, GuardedConnection] = {}
    poll = select.poll()
    for each in connections:
        if each.silent and each.transport is not None:
            descriptor = each.transport.get_extra_info("socket").fileno()
            silent[descriptor] = each
            poll.register(descriptor, select.POLLIN)
    for descriptor, _ in poll.poll(0):
        del silent[descriptor]
    for each in silent.values():
        each.force_close()
