"""Servers that a killed launcher left behind, and their end.

They are told by their working directory: it outlives a stale pid file, and a reused pid cannot
be mistaken for it. Elsewhere than on Linux none are found; a server's own lock then refuses.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from contextlib import ExitStack
from pathlib import Path

from flashorder.infra.embedded.errors import ServerStopFailed

PROCESSES = Path("/proc")
KILL_TIMEOUT_SECONDS = 5.0


async def end_leftovers(folder: Path, stop_signal: signal.Signals, timeout_seconds: float) -> int:
    """End what a former launcher left working in ``folder``; the number of processes found.

    First ``stop_signal``, after the time SIGKILL. Only the holder of the data folder's lock may
    call this. Raises ``ServerStopFailed`` when one survives even that.
    """
    found = await asyncio.to_thread(processes_in, folder)
    if not found:
        return 0
    await asyncio.to_thread(_end, found, stop_signal, timeout_seconds)
    rest = await asyncio.to_thread(processes_in, folder)
    if rest:
        await asyncio.to_thread(_end, rest, signal.SIGKILL, KILL_TIMEOUT_SECONDS)
        rest = await asyncio.to_thread(processes_in, folder)
    if rest:
        raise ServerStopFailed(folder, rest)
    return len(found)


def processes_in(folder: Path) -> tuple[int, ...]:
    """Pids of the living processes whose working directory is ``folder`` or below it."""
    place = str(folder.resolve())
    if not PROCESSES.is_dir():
        return ()
    names = (entry.name for entry in PROCESSES.iterdir())
    return tuple(int(name) for name in names if name.isdigit() and _works_in(name, place))


def _works_in(pid: str, place: str) -> bool:
    try:
        directory = str((PROCESSES / pid / "cwd").readlink())
    except PermissionError:
        # Another user's, as a database run as nobody is where root has no ptrace right. Its
        # command line, which everybody may read, names the folder.
        return _names(pid, place)
    except OSError:
        # Ended meanwhile, or a zombie.
        return False
    return directory == place or directory.startswith(f"{place}{os.sep}")


def _names(pid: str, place: str) -> bool:
    try:
        arguments = (PROCESSES / pid / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    inside = f"{place}{os.sep}".encode()
    return any(argument.startswith(inside) for argument in arguments)


def _end(pids: tuple[int, ...], number: signal.Signals, timeout_seconds: float) -> None:
    """Signal every process and wait until all have ended or the time is over."""
    deadline = time.monotonic() + timeout_seconds
    poller = select.poll()
    waiting = 0
    with ExitStack() as descriptors:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
                descriptors.callback(os.close, descriptor)
                signal.pidfd_send_signal(descriptor, number)
            except ProcessLookupError:
                continue
            poller.register(descriptor, select.POLLIN)
            waiting += 1
        while waiting and (left_seconds := deadline - time.monotonic()) > 0:
            for descriptor, _ in poller.poll(left_seconds * 1000):
                poller.unregister(descriptor)
                waiting -= 1
