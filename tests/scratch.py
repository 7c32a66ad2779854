"""Where tests write: in memory if there is room, since making the files of a database on a disk
takes longer than most tests. What is proved of power cuts is proved by cutting files, not disks.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
BYTES_MIN = 3 << 30
"""Free there; a session takes up to 1 GB of it."""
_PREFIX = "flashorder-tests-"


def begin() -> Path | None:
    """This session's folder, which ``tempfile`` uses from now on; None where there is no room."""
    if not _has_room():
        return None
    for folder in MEMORY.glob(f"{_PREFIX}*"):  # of sessions that were killed, or have failed
        pid = folder.name.removeprefix(_PREFIX)
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    folder = MEMORY / f"{_PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None
    return folder


def end(folder: Path) -> None:
    """Give the memory back."""
    shutil.rmtree(folder, ignore_errors=True)


def _has_room() -> bool:
    try:
        return shutil.disk_usage(MEMORY).free >= BYTES_MIN and os.access(MEMORY, os.W_OK)
    except OSError:
        return False
