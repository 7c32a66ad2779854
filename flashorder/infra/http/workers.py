"""Several web workers on one port: started, watched, started again, stopped in order.

Each worker is a process of its own with its own event loop; the kernel spreads connections over
them (SO_REUSEPORT). A worker says one line on its standard output once it listens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from flashorder.kernel.errors import FlashorderError, Misconfigured, Unavailable

log = structlog.get_logger(__name__)

BACKOFF_SECONDS_MAX: Final = 10.0
STEADY_AFTER_SECONDS: Final = 30.0
# How long past its own drain time-out a worker may take to end.
GRACE_SECONDS: Final = 5.0
EXIT_AWAY: Final = 3


class Workers:
    """``command(index)`` is the argv and the environment of a worker.

    ``on_change`` is told the pids whenever all workers are up.
    """

    def __init__(
        self,
        count: int,
        command: Callable[[int], tuple[Sequence[str], Mapping[str, str]]],
        *,
        drain_timeout_seconds: float,
        on_change: Callable[[list[int]], None],
    ) -> None:
        self._command = command
        self._drain_timeout_seconds = drain_timeout_seconds
        self._on_change = on_change
        self._pids: list[int | None] = [None] * count

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the workers running until ``stopping`` is set.

        A worker that crashes is started again with backoff. One that never came up ends the whole
        group with its failure: ``Unavailable`` or ``Misconfigured``, and it has said why itself.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(self._pids)):
                    group.create_task(self._keep(index, stopping), name=f"worker {index}")
        except* FlashorderError as failures:
            raise failures.exceptions[0] from None

    async def _keep(self, index: int, stopping: asyncio.Event) -> None:
        crashes = 0
        was_up = False
        while not stopping.is_set():
            began = time.monotonic()
            process = await self._start(index)
            try:
                came_up = await self._until_up(index, process, stopping)
                was_up = was_up or came_up
                await _first(process.wait(), stopping.wait())
            finally:
                self._pids[index] = None
                await self._stop(process)
            if stopping.is_set():
                return
            if not was_up:
                raise _start_failure(index, process.returncode)
            crashes = 0 if time.monotonic() - began > STEADY_AFTER_SECONDS else crashes + 1
            pause_seconds = min(BACKOFF_SECONDS_MAX, 0.1 * 2 ** min(crashes, 10))
            log.error(
                "worker_ended",
                worker=index,
                pid=process.pid,
                exit_code=process.returncode,
                again_in_seconds=pause_seconds,
            )
            await _first(asyncio.sleep(pause_seconds), stopping.wait())

    async def _start(self, index: int) -> asyncio.subprocess.Process:
        argv, environment = self._command(index)
        return await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )

    async def _until_up(
        self, index: int, process: asyncio.subprocess.Process, stopping: asyncio.Event
    ) -> bool:
        assert process.stdout is not None, "it was asked for"
        line = await _first(process.stdout.readline(), stopping.wait())
        if not isinstance(line, bytes) or not line:
            return False
        self._pids[index] = process.pid
        up = [pid for pid in self._pids if pid is not None]
        if len(up) == len(self._pids):
            self._on_change(up)
        return True

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            _signal(process, signal.SIGTERM)
            try:
                async with asyncio.timeout(self._drain_timeout_seconds + GRACE_SECONDS):
                    await process.wait()
            except TimeoutError:
                log.error("worker_killed", pid=process.pid)
            finally:
                _signal(process, signal.SIGKILL)
        await process.wait()


async def _first(*waits: object) -> object:
    """The result of whichever ends first; the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task.result() for task in tasks if task in done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        try:
            process.send_signal(number)
        except ProcessLookupError:
            return


def _start_failure(index: int, exit_code: int | None) -> FlashorderError:
    text = f"web worker {index} ended with exit code {exit_code} before it was up"
    return Unavailable(text) if exit_code == EXIT_AWAY else Misconfigured(text)
