"""A TCP link between two parts that can be made as bad as a real one.

A link listens, connects each client through to where it leads, and passes bytes on as its weather
says. What is held back by silence or latency is not lost: as with TCP over a broken line, it
arrives when the line is mended, perhaps long after the sender gave up on it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
CHUNKS_HELD_MAX = 64
_ABORT_ON_CLOSE = struct.pack("ii", 1, 0)


class Direction(StrEnum):
    """Which way bytes go: ``up`` from the client to the server."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the link is; the default is good.

    ``latency_seconds``: each way. ``silent``: directions in which nothing arrives. ``cut_after``:
    bytes, counted over the link's directions together, after which the connection that carried the
    last is reset; once. ``drip_seconds``: time that one byte takes. ``refuses``: new connections
    are reset.
    """

    latency_seconds: float = 0.0
    silent: frozenset[Direction] = frozenset()
    cut_after: int | None = None
    drip_seconds: float = 0.0
    refuses: bool = False


FAIR = Weather()


@dataclass(eq=False, slots=True)
class _Connection:
    """Both halves of one connection through the link."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    owner: asyncio.Task[None]
    resetting: bool = False

    def reset(self) -> None:
        """RST to both sides; what is under way is lost."""
        self.resetting = True
        for writer in self.writers:
            _abort(writer)
        self.owner.cancel()


@dataclass(slots=True)
class Link:
    """Listens on a free port of its own that it keeps; ``leads_to`` is asked at each connection."""

    name: str
    leads_to: Callable[[], tuple[str, int]]
    port: int = 0
    weather: Weather = FAIR
    carried_bytes: int = 0
    _until_cut: int = -1
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _connections: set[_Connection] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def becomes(self, weather: Weather) -> None:
        """From now on; what was held back goes on its way if the new weather lets it."""
        self.weather = weather
        self._until_cut = -1 if weather.cut_after is None else weather.cut_after
        self._changed.set()
        self._changed = asyncio.Event()

    def reset(self) -> int:
        """Reset every connection there is; returns how many."""
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        return len(connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The task that the server awaits ends at once, so that resetting cancels ours alone."""
        owner = asyncio.create_task(self._carry(reader, writer), name=f"link {self.name}")
        self._tasks.add(owner)
        owner.add_done_callback(self._tasks.discard)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        owner = asyncio.current_task()
        assert owner is not None
        if self.weather.refuses:
            _abort(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.leads_to())
        except OSError:
            _abort(writer)
            return
        connection = _Connection((writer, server_writer), owner)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(Direction.UP, reader, server_writer, connection))
                group.create_task(self._pass(Direction.DOWN, server_reader, writer, connection))
        except* OSError:
            connection.reset()
        finally:
            self._connections.discard(connection)
            for each in connection.writers:
                if connection.resetting:
                    _abort(each)
                else:
                    each.close()

    async def _pass(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
    ) -> None:
        """One direction, in order; reading goes on while what was read waits for its time."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_HELD_MAX)

        async def read() -> None:
            clock = asyncio.get_running_loop().time
            while True:
                data = await reader.read(CHUNK_BYTES)
                await held.put((clock() + self.weather.latency_seconds, data))
                if not data:
                    return

        async def write() -> None:
            while True:
                due, data = await held.get()
                await self._until(due)
                await self._while_silent(direction)
                if not data:
                    if not writer.is_closing():
                        with suppress(OSError):
                            writer.write_eof()
                    return
                await self._deliver(direction, data, writer, connection)

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(write())

    async def _deliver(
        self,
        direction: Direction,
        data: bytes,
        writer: asyncio.StreamWriter,
        connection: _Connection,
    ) -> None:
        while data:
            if writer.is_closing():  # asyncio would pass over it, uvloop would not
                raise ConnectionResetError
            piece = data[:1] if self.weather.drip_seconds else data
            if 0 <= self._until_cut <= len(piece):
                writer.write(piece[: self._until_cut])
                with suppress(OSError):
                    await writer.drain()
                self._until_cut = -1
                connection.reset()
                return
            if self._until_cut > 0:
                self._until_cut -= len(piece)
            writer.write(piece)
            await writer.drain()
            self.carried_bytes += len(piece)
            data = data[len(piece) :]
            if data and self.weather.drip_seconds:
                await self._until(asyncio.get_running_loop().time() + self.weather.drip_seconds)
                await self._while_silent(direction)

    async def _until(self, due: float) -> None:
        """Sleep until ``due``, or until the weather changes to one without waiting."""
        clock = asyncio.get_running_loop().time
        while (left := due - clock()) > 0 and (
            self.weather.latency_seconds or self.weather.drip_seconds
        ):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def _while_silent(self, direction: Direction) -> None:
        while direction in self.weather.silent:
            await self._changed.wait()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN: the peer sees "connection reset", as of a crashed machine."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:  # uvloop keeps the socket of what is closed
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
    writer.transport.abort()
