"""What a running ``flashorder up`` tells, and where other commands find it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec

from flashorder.kernel.errors import Misconfigured
from flashorder.settings import Settings

READY_FILE = "up.json"


class ReadyState(msgspec.Struct, kw_only=True):
    """Told once ``/readyz`` holds, as a line of JSON in the ready file; URLs contain passwords.

    Written again when a role was started anew and has another pid. A pid is null where the role is
    not ours, or is being started again.
    """

    url: str
    redis_url: str
    database_url: str
    simulator_url: str
    carrier_url: str
    pids: dict[str, int | list[int] | None]


def running_state(settings: Settings) -> ReadyState | None:
    """What the ``flashorder up`` that holds this data folder told, or None."""
    # Reading a file takes microseconds; the launcher's import is paid only where there is one.
    state = read_ready_file(settings.data_dir / READY_FILE)
    if state is None:
        return None
    from flashorder.infra.embedded import running_endpoints  # noqa: PLC0415 - heavy

    return state if running_endpoints(settings.data_dir) is not None else None


def require_writable(path: Path) -> None:
    """Raise ``Misconfigured`` where no file can be written at ``path``; leaves none."""
    probe = path.with_name(f"{path.name}.new")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise Misconfigured(
            f"the ready file {path} cannot be written: {error.strerror}; name another place in "
            "--ready-file"
        ) from None


def read_ready_file(path: Path) -> ReadyState | None:
    """The ready file at ``path``, or None where there is none (yet)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ReadyState)
    except (OSError, msgspec.MsgspecError):
        return None
