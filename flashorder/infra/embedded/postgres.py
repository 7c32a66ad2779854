"""The embedded database: one PostgreSQL in the data folder, for this machine only."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg

from flashorder.infra.embedded.binaries import DatabaseBinaries, find_database_binaries
from flashorder.infra.embedded.cluster import disown_stale_pid_file, make_cluster
from flashorder.infra.embedded.data_folder import DataFolder
from flashorder.infra.embedded.errors import PortTaken
from flashorder.infra.embedded.leftovers import end_leftovers
from flashorder.infra.embedded.ports import LOOPBACK, free_port, is_free
from flashorder.infra.embedded.process import ServerCommand, ServerProcess
from flashorder.infra.embedded.run_as import choose_run_as, hand_over

ROLE = "flashorder"
DATABASE = "flashorder"
LONGEST_SOCKET_NAME = ".s.PGSQL.65535.lock"
PROBE_TIMEOUT_SECONDS = 2.0
START_ATTEMPTS_MAX = 3
# Line of postmaster.pid that tells the state, and what it says once connections are taken.
STATE_LINE = 7
READY_STATE = "ready"


class EmbeddedDatabase:
    """A database server in the data folder; its address after ``start``.

    ``port`` None prefers the port of the last run, else takes a free one. ``settings`` are
    PostgreSQL parameters that go before ours. ``durable`` False lets tests make and lose a
    cluster without waiting for the disk.
    """

    def __init__(
        self,
        folder: DataFolder,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        binaries: DatabaseBinaries | None = None,
        start_timeout_seconds: float = 60.0,
        stop_timeout_seconds: float = 20.0,
    ) -> None:
        self.port = port
        self.settings = dict(settings or {})
        self.durable = durable
        self.binaries = binaries
        self.start_timeout_seconds = start_timeout_seconds
        self.stop_timeout_seconds = stop_timeout_seconds
        self._port_was_given = port is not None
        self._folder = folder
        self._cluster = folder.database_folder / "cluster"
        self._password = ""
        self._socket_folder: Path | None = None
        self._process: ServerProcess | None = None
        self._turn = asyncio.Lock()

    @property
    def url(self) -> str:
        """``postgresql://`` address over TCP, password included. Valid after ``start``."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Address of another database of the same server."""
        return f"postgresql://{ROLE}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """Process id of the running server (the postmaster)."""
        assert self._process is not None, "the database is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server is up."""
        return self._process is not None and self._process.running

    async def start(self) -> None:
        """Start the server and return once it answers. Idempotent; restarts one that died.

        The first start makes the cluster. Raises ``ServerBinaryMissing``, ``PortTaken``,
        ``DatabaseVersionMismatch``, ``DataFolderUnusable``, ``ServerStartFailed``.
        """
        self._folder.require_open()
        async with self._turn:
            if self.running:
                return
            binaries = await self._settle_binaries()
            await self._clear_the_way(binaries)
            for attempt in range(1, START_ATTEMPTS_MAX + 1):
                try:
                    await self._start_once(binaries)
                    return
                except PortTaken:
                    if self._port_was_given or attempt == START_ATTEMPTS_MAX:
                        raise

    async def stop(self) -> None:
        """Stop the server: sessions are ended, files are left clean. Idempotent."""
        async with self._turn:
            if self._process is not None:
                await self._process.stop(self.stop_timeout_seconds)
                self._process = None

    async def wait(self) -> int:
        """Exit code, once the server has ended."""
        assert self._process is not None, "the database is not running"
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

    async def _settle_binaries(self) -> DatabaseBinaries:
        major = self._folder.database_major()
        if self.binaries is None:
            self.binaries = await find_database_binaries(major)
        self._folder.require_database_major(self.binaries.major)
        return self.binaries

    async def _clear_the_way(self, binaries: DatabaseBinaries) -> None:
        """No process of a former run, no half-made cluster, no stale postmaster.pid."""
        for folder in (self._folder.unfinished_database_folder, self._folder.database_folder):
            if folder.exists():
                await end_leftovers(folder, signal.SIGINT, self.stop_timeout_seconds)
        self._folder.remove_unfinished_database()
        if not self._folder.database_folder.exists():
            await make_cluster(self._folder, binaries, role=ROLE, durable=self.durable)
        disown_stale_pid_file(self._cluster)

    async def _start_once(self, binaries: DatabaseBinaries) -> None:
        self.port = self._choose_port()
        process = await ServerProcess.spawn(await self._prepare(binaries, self.port))
        try:
            await process.become_ready(self._answers, self.start_timeout_seconds)
        except BaseException as error:
            await process.kill()
            if "Address already in use" in process.log_of_this_start():
                raise PortTaken("the database", self.port) from error
            raise
        self._process = process
        self._folder.record_endpoints(database_url=self.url, database_port=self.port)

    def _choose_port(self) -> int:
        if self._port_was_given:
            assert self.port is not None
            if not is_free(self.port):
                raise PortTaken("the database", self.port)
            return self.port
        return free_port(self.port or self._folder.endpoints().database_port)

    async def _prepare(self, binaries: DatabaseBinaries, port: int) -> ServerCommand:
        folder = self._folder.database_folder
        self._password = (folder / "password").read_text(encoding="ascii").strip()
        run_as = await choose_run_as(binaries.postgres.path, self._cluster)
        self._socket_folder = self._folder.socket_folder(folder, LONGEST_SOCKET_NAME)
        for stale in self._socket_folder.glob(".s.PGSQL.*"):
            stale.unlink()
        for place in {folder, self._socket_folder}:
            hand_over(place, run_as)
        settings = self.settings | {
            "port": str(port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": _quoted(self._socket_folder),
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
            "log_destination": "stderr",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        return ServerCommand(
            name="PostgreSQL",
            argv=(
                str(binaries.postgres.path),
                "-D",
                str(self._cluster),
                *(f"--{name}={value}" for name, value in settings.items()),
            ),
            folder=self._cluster,
            log_file=self._folder.fresh_log("postgres"),
            pid_file=folder / "postgres.pid",
            stop_signal=signal.SIGINT,
            run_as=run_as,
        )

    async def _answers(self) -> bool:
        # Its own word first: a connection before that would only fill the log with refusals.
        if not self._reports_ready():
            return False
        try:
            connection = await asyncpg.connect(
                self.url_of("postgres"), timeout=PROBE_TIMEOUT_SECONDS
            )
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
            return False
        try:
            known = "SELECT true FROM pg_database WHERE datname = $1"
            if not await connection.fetchval(known, DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        return True

    def _reports_ready(self) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > STATE_LINE and lines[STATE_LINE].strip() == READY_STATE


def _quoted(folder: Path) -> str:
    """One entry of a list of folders, in PostgreSQL's notation."""
    return '"' + str(folder).replace('"', '""') + '"'
