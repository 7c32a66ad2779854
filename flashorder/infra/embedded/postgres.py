"""The embedded database: one PostgreSQL in the data folder, for this machine only."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from flashorder.infra.embedded.binaries import DatabaseBinaries, find_database_binaries
from flashorder.infra.embedded.cluster import disown_stale_pid_file, make_cluster
from flashorder.infra.embedded.data_folder import DataFolder
from flashorder.infra.embedded.errors import DatabaseFilesMissing, restore_or_begin_anew
from flashorder.infra.embedded.leftovers import end_leftovers
from flashorder.infra.embedded.ports import LOOPBACK
from flashorder.infra.embedded.process import ServerCommand
from flashorder.infra.embedded.run_as import RunAs, choose_run_as, hand_over
from flashorder.infra.embedded.server import EmbeddedServer

ROLE = "flashorder"
DATABASE = "flashorder"
LONGEST_SOCKET_NAME = ".s.PGSQL.65535.lock"
PROBE_TIMEOUT_SECONDS = 2.0
# Line of postmaster.pid that tells the state, and what it says once connections are taken.
STATE_LINE = 7
READY_STATE = "ready"
BUFFERS_MEGABYTES_MIN, BUFFERS_MEGABYTES_MAX = 128, 1024


class EmbeddedDatabase(EmbeddedServer):
    """A database server in the data folder; its address after ``start``.

    The first start makes the cluster. ``settings`` are PostgreSQL parameters; those that say
    where the server listens are ours. ``durable`` False lets tests make a cluster without
    waiting for the disk.
    """

    role = "database"

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
        super().__init__(
            folder,
            port=port,
            start_timeout_seconds=start_timeout_seconds,
            stop_timeout_seconds=stop_timeout_seconds,
        )
        self.settings = dict(settings or {})
        self.durable = durable
        self.binaries = binaries
        self._cluster = folder.database_folder / "cluster"
        self._password = ""

    @property
    def url(self) -> str:
        """``postgresql://`` address over TCP, password included. Valid after ``start``."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Address of another database of the same server."""
        return f"postgresql://{ROLE}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    async def _clear_the_way(self) -> None:
        binaries = self.binaries or await find_database_binaries(self._folder.database_major())
        self._folder.require_database_major(binaries.major)
        self.binaries = binaries
        for folder in (self._folder.unfinished_database_folder, self._folder.database_folder):
            if folder.exists():
                await end_leftovers(folder, signal.SIGINT, self.stop_timeout_seconds)
        self._folder.remove_unfinished_database()
        if not self._folder.database_folder.exists():
            await make_cluster(self._folder, binaries, role=ROLE, durable=self.durable)
        disown_stale_pid_file(self._cluster)

    async def _command(self, port: int) -> ServerCommand:
        assert self.binaries is not None
        folder = self._folder.database_folder
        try:
            self._password = (folder / "password").read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise DatabaseFilesMissing(folder, "password") from error
        program = self.binaries.postgres.path
        run_as = await choose_run_as(program, self._cluster)
        # Clusters of tests are many at once, and small.
        sized = {"shared_buffers": f"{_buffers_megabytes()}MB"} if self.durable else {}
        settings = (
            sized
            | self.settings
            | {
                "port": str(port),
                "listen_addresses": LOOPBACK,
                "unix_socket_directories": _quoted(self._free_socket_folder(run_as)),
                "unix_socket_permissions": "0700",
                "logging_collector": "off",
                "log_destination": "stderr",
                # Otherwise it tells the row that it refuses, and so whose it is.
                "log_error_verbosity": "terse",
                "timezone": "UTC",
                "log_timezone": "UTC",
            }
        )
        hand_over(folder, run_as)
        arguments = (f"--{name}={value}" for name, value in settings.items())
        return ServerCommand(
            name="PostgreSQL",
            argv=(str(program), "-D", str(self._cluster), *arguments),
            folder=self._cluster,
            log_file=self._folder.fresh_log("postgres"),
            pid_file=folder / "postgres.pid",
            stop_signal=signal.SIGINT,
            run_as=run_as,
            way_out=f"If its files are damaged: {restore_or_begin_anew(folder)}",
        )

    def _free_socket_folder(self, run_as: RunAs) -> Path:
        """Where the socket goes, without the ones of a crash: they name pids long reused."""
        folder = self._folder.socket_folder(self._folder.database_folder, LONGEST_SOCKET_NAME)
        for stale in folder.glob(".s.PGSQL.*"):
            stale.unlink()
        hand_over(folder, run_as)
        return folder

    async def _answers(self, pid: int) -> bool:
        # Its own word first: a connection before that would only fill the log with refusals.
        if not self._reports_ready(pid):
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

    def _last_port(self) -> int | None:
        return self._folder.endpoints().database_port

    def _record_endpoint(self) -> None:
        self._folder.record_endpoints(database_url=self.url, database_port=self.port)

    def _reports_ready(self, pid: int) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        if len(lines) <= STATE_LINE:
            return False
        return lines[0] == str(pid) and lines[STATE_LINE].strip() == READY_STATE


def _quoted(folder: Path) -> str:
    """One entry of a list of folders, in PostgreSQL's notation."""
    return '"' + str(folder).replace('"', '""') + '"'


def _buffers_megabytes() -> int:
    """A sixteenth of the machine's memory, within bounds; it is taken only as it is used.

    Order numbers cannot be guessed, so their index is written at random places: with PostgreSQL's
    own 128 MB it no longer fits at five million orders, and each costs reads and writes of pages.
    """
    megabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return min(max(megabytes // 16, BUFFERS_MEGABYTES_MIN), BUFFERS_MEGABYTES_MAX)
