"""The life of an embedded server, whichever it is: port, start, stop, who may wait for it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

from flashorder.infra.embedded.data_folder import DataFolder
from flashorder.infra.embedded.errors import PortTaken
from flashorder.infra.embedded.ports import free_port, is_free
from flashorder.infra.embedded.process import ServerCommand, ServerProcess

START_ATTEMPTS_MAX = 3
PORT_TAKEN_WORDS = "Address already in use"


class EmbeddedServer(ABC):
    """A server in an open data folder.

    ``port`` None prefers the port of the last run, else takes a free one. After the first start
    the object keeps its port, so that clients find a restarted server where it was.
    """

    role: ClassVar[str]

    def __init__(
        self,
        folder: DataFolder,
        *,
        port: int | None,
        start_timeout_seconds: float,
        stop_timeout_seconds: float,
    ) -> None:
        self.port = port
        self.start_timeout_seconds = start_timeout_seconds
        self.stop_timeout_seconds = stop_timeout_seconds
        self._port_was_given = port is not None
        self._folder = folder
        self._process: ServerProcess | None = None
        self._turn = asyncio.Lock()

    @property
    @abstractmethod
    def url(self) -> str:
        """Address over TCP, password included. Valid after the first ``start``."""

    @property
    def pid(self) -> int:
        """Process id of the server that was started last."""
        assert self._process is not None, f"the {self.role} is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server is up."""
        return self._process is not None and self._process.running

    async def start(self) -> None:
        """Start the server and return once it answers. Idempotent; restarts one that died.

        Raises ``ServerBinaryMissing``, ``PortTaken``, ``ServerStartFailed``, and of the database
        also ``DatabaseVersionMismatch`` and ``DataFolderUnusable``.
        """
        self._folder.require_open()
        async with self._turn:
            if self.running:
                return
            await self._clear_the_way()
            for attempt in range(1, START_ATTEMPTS_MAX + 1):
                try:
                    await self._start_once()
                    return
                except PortTaken:
                    # A port that was free a moment ago: only ours to choose anew.
                    if self._port_was_given or attempt == START_ATTEMPTS_MAX:
                        raise

    async def stop(self) -> None:
        """Stop the server, orderly if it can be done in time. Idempotent."""
        async with self._turn:
            if self._process is not None:
                await self._process.stop(self.stop_timeout_seconds)
                self._process = None

    async def wait(self) -> int:
        """Exit code, once the server has ended; negative for a signal."""
        assert self._process is not None, f"the {self.role} is not running"
        return await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @abstractmethod
    async def _clear_the_way(self) -> None:
        """Find the program, end what a former run left, make what is missing."""

    @abstractmethod
    async def _command(self, port: int) -> ServerCommand:
        """What to run on this port."""

    @abstractmethod
    async def _answers(self, pid: int) -> bool:
        """Whether the server with this pid can be worked with."""

    @abstractmethod
    def _last_port(self) -> int | None:
        """The port of the last run, from the data folder."""

    @abstractmethod
    def _record_endpoint(self) -> None:
        """Write the address into the data folder."""

    async def _start_once(self) -> None:
        self.port = self._choose_port()
        process = await ServerProcess.spawn(await self._command(self.port))
        try:
            await process.become_ready(
                lambda: self._answers(process.pid), self.start_timeout_seconds
            )
        except BaseException as error:
            await process.kill()
            if PORT_TAKEN_WORDS in process.log_of_this_start():
                raise PortTaken(f"the {self.role}", self.port) from error
            raise
        self._process = process
        self._record_endpoint()

    def _choose_port(self) -> int:
        if not self._port_was_given:
            return free_port(self.port or self._last_port())
        assert self.port is not None
        if not is_free(self.port):
            raise PortTaken(f"the {self.role}", self.port)
        return self.port
