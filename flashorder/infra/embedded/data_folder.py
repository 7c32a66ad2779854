"""The folder that the embedded servers keep their data in: layout, lock, addresses.

::

    lock                  held (flock) while a launcher owns the folder; names its pid
    endpoints.json        addresses of the servers, mode 0600: they contain passwords
    valkey/               append-only files, configuration, password
    postgres/cluster/     PostgreSQL's own data folder
    postgres/password     made together with the cluster, mode 0600
    postgres.unfinished/  a cluster that is being made; renamed to postgres/ when complete
    logs/                 one file a server, and its predecessor with ``.1``
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from flashorder.infra.embedded.errors import (
    DatabaseFilesMissing,
    DatabaseVersionMismatch,
    DataFolderInUse,
    DataFolderUnusable,
)
from flashorder.infra.embedded.run_as import RunAs

LOG_BYTES_MAX = 4 * 1024 * 1024
# sun_path holds 108 bytes on Linux and 104 elsewhere, the closing zero among them.
SOCKET_PATH_BYTES_MAX = 103


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers of one data folder listen; None where one was not started."""

    redis_url: str | None = None
    redis_port: int | None = None
    database_url: str | None = None
    database_port: int | None = None


class DataFolder:
    """One launcher's claim to a data folder. Used as a context manager, or opened and closed.

    ``open`` raises ``DataFolderInUse`` while another process holds the folder and
    ``DataFolderUnusable`` where it cannot be written. Both calls are idempotent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.store_folder = self.path / "valkey"
        self.database_folder = self.path / "postgres"
        self.unfinished_database_folder = self.path / "postgres.unfinished"
        self.log_folder = self.path / "logs"
        self._lock_file = self.path / "lock"
        self._endpoints_file = self.path / "endpoints.json"
        self._lock: int | None = None
        self._short_folders: set[Path] = set()

    def open(self) -> None:
        """Create what is missing and take the lock."""
        if self._lock is not None:
            return
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataFolderUnusable(self.path, error.strerror or str(error)) from error
        try:
            self._claim(lock)
            self.log_folder.mkdir(mode=0o700, exist_ok=True)
            self.store_folder.mkdir(mode=0o700, exist_ok=True)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def close(self) -> None:
        """Give the lock back. The servers are stopped by then."""
        for short in self._short_folders:
            shutil.rmtree(short, ignore_errors=True)
        self._short_folders.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def require_open(self) -> None:
        """A server started without the lock could share its files with another: a bug."""
        assert self._lock is not None, "open the data folder before starting a server in it"

    def endpoints(self) -> Endpoints:
        """The addresses written last; after a stop they tell which ports to prefer."""
        return _read_endpoints(self._endpoints_file)

    def record_endpoints(self, **changes: str | int | None) -> None:
        """Replace single fields of the addresses, atomically."""
        changed = msgspec.structs.replace(self.endpoints(), **changes)
        write_private(self._endpoints_file, msgspec.json.encode(changed))

    def fresh_log(self, name: str) -> Path:
        """The log file for a new start. A large one makes room: two files at most remain."""
        log_file = self.log_folder / f"{name}.log"
        if log_file.exists() and log_file.stat().st_size > LOG_BYTES_MAX:
            log_file.replace(log_file.with_suffix(".log.1"))
        return log_file

    def socket_folder(self, owner: Path, longest_name: str) -> Path:
        """``owner`` if a socket called ``longest_name`` fits below it, else a short folder.

        The short one has a name that this data folder always gets again, so that nothing
        piles up after crashes; ``close`` removes it. It must be ours alone: the temporary
        folder is everybody's.
        """
        if len(os.fsencode(owner / longest_name)) <= SOCKET_PATH_BYTES_MAX:
            return owner
        digest = hashlib.sha256(os.fsencode(owner)).hexdigest()[:16]
        short = Path(tempfile.gettempdir()) / f"flashorder-{os.geteuid()}-{digest}"
        short.mkdir(mode=0o700, exist_ok=True)
        state = short.lstat()
        ours = {run_as.owner()[0] for run_as in RunAs} if os.geteuid() == 0 else {os.geteuid()}
        if state.st_mode != stat.S_IFDIR | 0o700 or state.st_uid not in ours:
            raise DataFolderUnusable(short, "this socket folder is not ours alone")
        self._short_folders.add(short)
        return short

    def remove_unfinished_database(self) -> bool:
        """Remove a database whose making was interrupted; whether there was one."""
        if not self.unfinished_database_folder.exists():
            return False
        shutil.rmtree(self.unfinished_database_folder)
        return True

    def database_major(self) -> int | None:
        """Major version of the database kept here, or None where there is none yet.

        Raises ``DatabaseFilesMissing`` for a folder that no complete initdb of ours made.
        """
        if not self.database_folder.exists():
            return None
        version_file = self.database_folder / "cluster" / "PG_VERSION"
        try:
            return int(version_file.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise DatabaseFilesMissing(self.database_folder, "cluster/PG_VERSION") from error

    def has_lost_its_database(self) -> bool:
        """Whether a database was kept here, is gone, and the store still has data."""
        return (
            self.endpoints().database_port is not None
            and not self.database_folder.exists()
            and any(self.store_folder.glob("appendonlydir/*"))
        )

    def require_database_major(self, server_major: int) -> None:
        """Raises ``DatabaseVersionMismatch`` where the files are of another major version."""
        files_major = self.database_major()
        if files_major is not None and files_major != server_major:
            raise DatabaseVersionMismatch(self.database_folder, files_major, server_major)

    def _claim(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise DataFolderUnusable(self.path, f"no lock: {error.strerror}") from error
            pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
            raise DataFolderInUse(self.path, f"pid {pid}" if pid else "another process") from error
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def running_endpoints(path: Path) -> Endpoints | None:
    """Addresses of the servers that some launcher runs in this folder now, or None."""
    try:
        lock = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # A shared lock is refused only while a launcher holds the exclusive one.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_endpoints(path / "endpoints.json")
    finally:
        os.close(lock)
    return None


def kept_password(path: Path) -> str:
    """The password in ``path``, made and written with mode 0600 when the file is missing."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        password = secrets.token_urlsafe(24)
        write_private(path, password.encode("ascii"))
        return password


def write_private(path: Path, content: bytes) -> None:
    """Write a whole file that only we may read, or leave the old one."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _read_endpoints(path: Path) -> Endpoints:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Endpoints)
    except (OSError, msgspec.MsgspecError):
        return Endpoints()
