"""The place of one worker among several: filled again when it falls empty, renewed when asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from flashorder.infra.http.worker_process import WorkerProcess
from flashorder.kernel.errors import FlashorderError, Misconfigured, Unavailable

log = structlog.get_logger(__name__)

BACKOFF_SECONDS_MAX: Final = 10.0
STEADY_AFTER_SECONDS: Final = 30.0
UP_WITHIN_SECONDS: Final = 60.0
EXIT_AWAY: Final = 3


class Place:
    """``start`` makes a process for it; ``changed`` is called when another worker serves, or none.

    A worker that is told to stop has ``stop_within_seconds`` for it.
    """

    def __init__(
        self,
        index: int,
        start: Callable[[int], Awaitable[WorkerProcess]],
        changed: Callable[[], None],
        *,
        stop_within_seconds: float,
    ) -> None:
        self.index = index
        self.worker: WorkerProcess | None = None
        """Who takes new connections."""
        self._start = start
        self._changed = changed
        self._stop_within_seconds = stop_within_seconds
        self._ending: set[asyncio.Task[None]] = set()
        self._renewal: asyncio.Future[WorkerProcess | None] | None = None
        self._asked = asyncio.Event()
        self._crashes = 0
        self._served_since = 0.0
        # Of the last process that did not come up; None: it could not even be started.
        self._exit_code: int | None = None

    async def keep(self, stopping: asyncio.Event) -> None:
        """Have a worker here until ``stopping`` is set; all have ended when this returns.

        Raises ``Unavailable`` or ``Misconfigured`` when the first one does not come up: it has said
        why itself.
        """
        if stopping.is_set():
            return
        try:
            first = await self._fresh(stopping)
            if first is not None:
                self._serves(first)
            elif not stopping.is_set():
                raise _start_failure(self.index, self._exit_code)
            while not stopping.is_set():
                await self._watch(stopping)
        finally:
            if self.worker is not None:
                self._end(self.worker)
            if self._ending:
                await asyncio.wait(self._ending)

    async def renewed(self) -> bool:
        """Replace the worker by a new one, which serves before the old one is told to stop.

        Returns when the old one has ended. False: the new one did not come up, and the old one
        stays. One call at a time.
        """
        self._renewal = asyncio.get_running_loop().create_future()
        self._asked.set()
        old = await self._renewal
        if old is None:
            return False
        await old.ended()
        return True

    async def _watch(self, stopping: asyncio.Event) -> None:
        worker = self.worker
        assert worker is not None, "the place is filled before it is watched"
        left = await first_of(worker.until_leaving(), self._asked.wait(), stopping.wait())
        if stopping.is_set():
            return
        if self._asked.is_set():
            await self._renew(worker, stopping)
            return
        self.worker = None
        self._changed()
        self._end(worker)
        if left:
            log.info("worker_leaving", worker=self.index, pid=worker.pid)
        else:
            if time.monotonic() - self._served_since > STEADY_AFTER_SECONDS:
                self._crashes = 0
            await self._pause(worker.exit_code, stopping)
        while not stopping.is_set():
            fresh = await self._fresh(stopping)
            if fresh is not None:
                self._serves(fresh)
                return
            await self._pause(self._exit_code, stopping)

    async def _renew(self, old: WorkerProcess, stopping: asyncio.Event) -> None:
        self._asked.clear()
        fresh = await self._fresh(stopping)
        if fresh is not None:
            log.info("worker_replaced", worker=self.index, pid=fresh.pid, instead_of=old.pid)
            self._serves(fresh)
            self._end(old)
        elif not stopping.is_set():
            log.error("worker_not_replaced", worker=self.index, exit_code=self._exit_code,
                      stays=old.pid)  # fmt: skip
        if self._renewal is not None and not self._renewal.done():
            self._renewal.set_result(old if fresh is not None else None)

    async def _fresh(self, stopping: asyncio.Event) -> WorkerProcess | None:
        """A new worker that serves, or None: it ended before, or came too late, and was ended."""
        try:
            worker = await self._start(self.index)
        except OSError as error:  # in the middle of an installation there may be no program
            log.error("worker_not_started", worker=self.index, error=str(error))
            self._exit_code = None
            return None
        try:
            await first_of(worker.until_up(), asyncio.sleep(UP_WITHIN_SECONDS), stopping.wait())
        except BaseException:
            await worker.stop(self._stop_within_seconds)
            raise
        if worker.up:
            return worker
        await worker.stop(self._stop_within_seconds)
        self._exit_code = worker.exit_code
        return None

    def _serves(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self._served_since = time.monotonic()
        self._changed()

    def _end(self, worker: WorkerProcess) -> None:
        task = asyncio.create_task(worker.stop(self._stop_within_seconds))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _pause(self, exit_code: int | None, stopping: asyncio.Event) -> None:
        """Wait longer after each crash."""
        self._crashes += 1
        pause_seconds = min(BACKOFF_SECONDS_MAX, 0.1 * 2 ** min(self._crashes, 10))
        log.error(
            "worker_ended",
            worker=self.index,
            exit_code=exit_code,
            again_in_seconds=pause_seconds,
        )
        await first_of(asyncio.sleep(pause_seconds), stopping.wait())


async def first_of(*waits: Awaitable[object]) -> object:
    """The result of whichever ends first; the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task.result() for task in tasks if task in done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _start_failure(index: int, exit_code: int | None) -> FlashorderError:
    text = f"web worker {index} ended with exit code {exit_code} before it was up"
    return Unavailable(text) if exit_code == EXIT_AWAY else Misconfigured(text)
