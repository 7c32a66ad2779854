"""Disks so small that they can be filled: in memory, and seen by nobody but this run.

A file system of its own for each store takes a mount. Root may do that, and so may anybody in a
user namespace of their own, where the machine permits one; containers often forbid both. The mounts
live in a mount namespace of this process and go with it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_PRIVATE_BELOW = (1 << 14) | (1 << 18)
BALLAST = "ballast"
BALLAST_CHUNK_BYTES = 1 << 20
LEAST_BYTES = 4096
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where mount is, also for a PATH that leads nowhere else."""


class NoSmallDisks(Exception):
    """This machine does not let this process mount anything."""


def separate() -> None:
    """Give this process mounts of its own, and rights to change them; raises ``NoSmallDisks``.

    What it starts from here on has them as well. Somebody who is not root becomes root in a user
    namespace, which takes a process that has no threads yet.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    flags = _NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USERS
    if libc.unshare(flags):
        raise NoSmallDisks(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if libc.mount(None, b"/", None, _PRIVATE_BELOW, None):
        raise NoSmallDisks(f"mounts cannot be kept apart: {os.strerror(ctypes.get_errno())}")


@dataclass(slots=True)
class SmallDisk:
    """A file system of ``megabytes`` at ``folder``, an empty one; used as a context manager.

    Entering it raises ``NoSmallDisks``.
    """

    folder: Path
    megabytes: int

    def __enter__(self) -> Self:
        mode = f"{self.folder.stat().st_mode & 0o777:o}"
        options = f"size={self.megabytes}m,mode={mode}"
        try:
            _run("mount", "-t", "tmpfs", "-o", options, "flashorder-chaos", str(self.folder))
        except subprocess.CalledProcessError as error:
            raise NoSmallDisks(error.stderr.strip()) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """What is on it stays, in the folder below it."""
        self.free()
        kept = self.folder.with_name(f"{self.folder.name}.kept")
        _run("cp", "-a", str(self.folder), str(kept))
        # Lazily: a server that was killed may take a moment to end.
        _run("umount", "-l", str(self.folder))
        self.folder.rmdir()
        kept.rename(self.folder)

    def fill(self) -> None:
        """Take all that is left, so that the next byte is refused (ENOSPC)."""
        descriptor = os.open(self.folder / BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        chunk = bytes(BALLAST_CHUNK_BYTES)
        try:
            while len(chunk) >= LEAST_BYTES:
                try:
                    os.write(descriptor, chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk = chunk[: len(chunk) // 2]
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Give it back."""
        with suppress(FileNotFoundError):
            (self.folder / BALLAST).unlink()


def _run(program: str, *arguments: str) -> None:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    if found is None:
        raise NoSmallDisks(f"{program} is missing")
    subprocess.run([found, *arguments], capture_output=True, text=True, check=True)
