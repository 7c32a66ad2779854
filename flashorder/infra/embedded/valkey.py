"""The embedded store: one Valkey (or Redis) that fsyncs every write before it answers."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from flashorder.infra.embedded.binaries import ServerBinary, find_store_binary
from flashorder.infra.embedded.data_folder import DataFolder, kept_password, write_private
from flashorder.infra.embedded.errors import PortTaken
from flashorder.infra.embedded.leftovers import end_leftovers
from flashorder.infra.embedded.ports import LOOPBACK, free_port, is_free
from flashorder.infra.embedded.process import ServerCommand, ServerProcess

SOCKET_NAME = "valkey.sock"
PROBE_TIMEOUT_SECONDS = 1.0
START_ATTEMPTS_MAX = 3


class EmbeddedStore:
    """A store server in the data folder; its address after ``start``.

    ``port`` None prefers the port of the last run, else takes a free one. ``maxmemory`` is in
    Valkey's notation ("1gb"); beyond it writes are refused, nothing is ever evicted. A start
    after a crash replays the append-only file, hence the generous time.
    """

    def __init__(
        self,
        folder: DataFolder,
        *,
        port: int | None = None,
        maxmemory: str = "1gb",
        binary: ServerBinary | None = None,
        start_timeout_seconds: float = 60.0,
        stop_timeout_seconds: float = 10.0,
    ) -> None:
        self.port = port
        self.maxmemory = maxmemory
        self.binary = binary
        self.start_timeout_seconds = start_timeout_seconds
        self.stop_timeout_seconds = stop_timeout_seconds
        self._port_was_given = port is not None
        self._folder = folder
        self._password = ""
        self._socket: Path | None = None
        self._process: ServerProcess | None = None
        self._turn = asyncio.Lock()

    @property
    def url(self) -> str:
        """``redis://`` address over TCP, password included. Valid after the first ``start``."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """``unix://`` address: less work for the kernel than TCP on the same machine."""
        assert self._socket is not None, "the store was never started"
        return f"unix://:{self._password}@{quote(str(self._socket))}?db=0"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the store is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server is up."""
        return self._process is not None and self._process.running

    async def start(self) -> None:
        """Start the server and return once it answers. Idempotent; restarts one that died.

        Raises ``ServerBinaryMissing``, ``PortTaken``, ``ServerStartFailed``.
        """
        self._folder.require_open()
        async with self._turn:
            if self.running:
                return
            self.binary = self.binary or await find_store_binary()
            await end_leftovers(
                self._folder.store_folder, signal.SIGTERM, self.stop_timeout_seconds
            )
            for attempt in range(1, START_ATTEMPTS_MAX + 1):
                try:
                    await self._start_once(self.binary)
                    return
                except PortTaken:
                    if self._port_was_given or attempt == START_ATTEMPTS_MAX:
                        raise

    async def stop(self) -> None:
        """Stop the server, orderly if it can be done in time. Idempotent."""
        async with self._turn:
            if self._process is not None:
                await self._process.stop(self.stop_timeout_seconds)
                self._process = None

    async def wait(self) -> int:
        """Exit code, once the server has ended."""
        assert self._process is not None, "the store is not running"
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

    async def _start_once(self, binary: ServerBinary) -> None:
        self.port = self._choose_port()
        process = await ServerProcess.spawn(self._prepare(binary, self.port))
        try:
            await process.become_ready(
                lambda: self._answers(process.pid), self.start_timeout_seconds
            )
        except BaseException as error:
            await process.kill()
            if "Address already in use" in process.log_of_this_start():
                raise PortTaken("the store", self.port) from error
            raise
        self._process = process
        self._folder.record_endpoints(redis_url=self.url, redis_port=self.port)

    def _choose_port(self) -> int:
        if self._port_was_given:
            assert self.port is not None
            if not is_free(self.port):
                raise PortTaken("the store", self.port)
            return self.port
        return free_port(self.port or self._folder.endpoints().redis_port)

    def _prepare(self, binary: ServerBinary, port: int) -> ServerCommand:
        folder = self._folder.store_folder
        self._password = kept_password(folder / "password")
        self._socket = self._folder.socket_folder(folder, SOCKET_NAME) / SOCKET_NAME
        self._socket.unlink(missing_ok=True)
        # A file, not arguments: the command line of a process is for everybody to read.
        configuration = folder / "valkey.conf"
        write_private(configuration, self._configuration(port, self._socket).encode())
        return ServerCommand(
            name="Valkey",
            argv=(str(binary.path), configuration.name),
            folder=folder,
            log_file=self._folder.fresh_log("valkey"),
            pid_file=folder / "valkey.pid",
            stop_signal=signal.SIGTERM,
        )

    def _configuration(self, port: int, socket: Path) -> str:
        return "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {port}",
                f'unixsocket "{_escaped(str(socket))}"',
                "unixsocketperm 600",
                "protected-mode yes",
                f"requirepass {self._password}",
                "daemonize no",
                # An acknowledged purchase is on disk; a torn tail was never acknowledged.
                "appendonly yes",
                "appendfsync always",
                "aof-load-truncated yes",
                'save ""',
                f"maxmemory {self.maxmemory}",
                "maxmemory-policy noeviction",
                "",
            )
        )

    async def _answers(self, pid: int) -> bool:
        client = Redis.from_url(
            self.url,
            socket_timeout=PROBE_TIMEOUT_SECONDS,
            socket_connect_timeout=PROBE_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            # INFO is answered while the data is still being loaded; PING is not.
            await client.ping()
            server = await client.info("server")
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()
        return bool(server["process_id"] == pid)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
