"""Taking all connections that wait, where the event loop would take one a turn.

libuv takes one connection each time it looks at the listening socket (``uv__server_io``), which is
once a turn of the loop. While a worker answers thousands, a turn takes a tenth of a second: ten
newcomers a second would be let in, and the others stand in the kernel's queue until it is full. So
after each connection that the loop takes, those behind it are taken as well, so many a turn.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

import structlog

from flashorder.infra.http.connections import GuardedConnection
from flashorder.infra.http.listening import accept_waiting

log = structlog.get_logger(__name__)

# What taking so many costs is about what a batch of purchases does.
TAKEN_A_TURN_MAX: Final = 64


class Accepting:
    """Takes what waits for a server whose connections ``make`` makes.

    ``connection`` is the factory to give to the server; it takes effect with ``listener``, and ends
    when that is closed.
    """

    def __init__(self, make: Callable[[], GuardedConnection]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._looks = False
        self._taking: set[asyncio.Task[None]] = set()
        self.listener: asyncio.Server | None = None

    def connection(self) -> GuardedConnection:
        """A connection that the loop has taken: are there others behind it?"""
        self._look_soon()
        return self._make()

    async def settled(self) -> None:
        """Return when all that were taken are connections of the server."""
        while self._taking:
            await asyncio.wait(self._taking)

    def _look_soon(self) -> None:
        if not self._looks:
            self._looks = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looks = False
        if self.listener is None:
            return
        for each in self.listener.sockets:
            with socket.socket(fileno=os.dup(each.fileno())) as copy:
                waiting = accept_waiting(copy, TAKEN_A_TURN_MAX)
            for accepted in waiting:
                task = self._loop.create_task(self._connect(accepted))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)
            if len(waiting) == TAKEN_A_TURN_MAX:
                self._look_soon()

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, accepted)
        except OSError as error:  # the client has gone in the meantime
            log.debug("client_gone", error=repr(error))
            accepted.close()
