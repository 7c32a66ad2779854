"""As whom a server runs. PostgreSQL refuses root, and a container is often root.

The order for root: a user namespace (the data stays root's own, nothing is changed on disk),
else nobody with the data handed over (containers usually forbid the namespace).
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import sys
from enum import StrEnum
from pathlib import Path

SHIM = Path(__file__).with_name("launch_shim.py")


class RunAs(StrEnum):
    """The identity of a server process."""

    SELF = "self"
    NAMESPACE = "namespace"
    NOBODY = "nobody"

    def owner(self) -> tuple[int, int]:
        """(uid, gid) that must own the server's data, as seen from outside."""
        if self is RunAs.NOBODY:
            try:
                entry = pwd.getpwnam("nobody")
            except KeyError:
                return 65534, 65534
            return entry.pw_uid, entry.pw_gid
        return os.geteuid(), os.getegid()


async def choose_run_as(program: Path, folder: Path) -> RunAs:
    """How to run ``program``, which refuses root, with its data in the existing ``folder``."""
    if os.geteuid() != 0:
        return RunAs.SELF
    if await _namespace_works(program, folder):
        return RunAs.NAMESPACE
    return RunAs.NOBODY


def hand_over(folder: Path, run_as: RunAs) -> None:
    """Make ``folder`` and all below it belong to the identity; nothing is done where it does."""
    uid, gid = run_as.owner()
    if os.geteuid() != 0 or folder.stat().st_uid == uid:
        return
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), uid, gid, follow_symlinks=False)
    # The folder itself last: an interrupted hand-over is seen and done again.
    os.chown(folder, uid, gid)


def shim_command(
    run_as: RunAs,
    argv: tuple[str, ...],
    folder: Path,
    *,
    pid_file: Path | None = None,
    death_signal: int = 0,
    probe: bool = False,
) -> tuple[str, ...]:
    """The command line that becomes ``argv``; see launch_shim.py for the fields."""
    plan = {
        "run_as": str(run_as),
        "argv": argv,
        "folder": str(folder),
        "pid_file": None if pid_file is None else str(pid_file),
        "death_signal": death_signal,
        "parent_pid": os.getpid(),
        "probe": probe,
    }
    # Isolated and without site: nothing of the environment runs in the child, and it is fast.
    return sys.executable, "-I", "-S", str(SHIM), json.dumps(plan)


async def _namespace_works(program: Path, folder: Path) -> bool:
    if sys.platform != "linux":
        return False
    command = shim_command(RunAs.NAMESPACE, (str(program),), folder, probe=True)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait() == 0
