"""Several web workers on one port: started, watched, replaced one by one, stopped in order.

Each worker is a process of its own with its own event loop; the kernel spreads connections over
their sockets, which the parent keeps (``SharedPort``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from flashorder.infra.http.listening import SharedPort
from flashorder.infra.http.worker_place import Place, first_of
from flashorder.infra.http.worker_process import WorkerProcess
from flashorder.kernel.errors import FlashorderError

log = structlog.get_logger(__name__)

# How long past its own drain time-out a worker may take to end.
GRACE_SECONDS: Final = 5.0


class Workers:
    """``command(index, descriptor)`` is the argv and the environment of a worker.

    It serves on the socket that it finds under ``descriptor``. ``on_change`` is told the pids
    whenever all workers are up and one of them is new.
    """

    def __init__(
        self,
        port: SharedPort,
        count: int,
        command: Callable[[int, int], tuple[Sequence[str], Mapping[str, str]]],
        *,
        drain_timeout_seconds: float,
        on_change: Callable[[list[int]], None],
    ) -> None:
        self._port = port
        self._command = command
        self._on_change = on_change
        self._told: list[int] = []
        self._renewal = asyncio.Event()
        self._places = [
            Place(
                index,
                self._start,
                self._changed,
                stop_within_seconds=drain_timeout_seconds + GRACE_SECONDS,
            )
            for index in range(count)
        ]

    def renew(self) -> None:
        """Replace all workers, one after the other, each served for by the next before it ends.

        Asked while that is going on, it is done once more afterwards.
        """
        self._renewal.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the workers running until ``stopping`` is set, and end them.

        A worker that goes by itself is followed by another at once, one that crashes after a pause.
        One that never came up ends the whole group with its failure: ``Unavailable`` or
        ``Misconfigured``.
        """
        ending = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                for place in self._places:
                    group.create_task(place.keep(ending), name=f"worker {place.index}")
                group.create_task(self._renew_when_asked(ending), name="renewal of workers")
                await stopping.wait()
                # The workers' own sockets are the last, so that they close the port with them.
                self._port.close()
                ending.set()
        except* FlashorderError as failures:
            raise failures.exceptions[0] from None

    async def _start(self, index: int) -> WorkerProcess:
        descriptor = self._port.fileno(index)
        argv, environment = self._command(index, descriptor)
        return await WorkerProcess.start(argv, environment, [descriptor])

    def _changed(self) -> None:
        serving = {place.index: place.worker for place in self._places if place.worker is not None}
        self._port.steer(serving.keys())
        pids = [worker.pid for worker in serving.values()]
        if len(pids) == len(self._places) and pids != self._told:
            first, self._told = not self._told, pids
            try:
                self._on_change(pids)
            except OSError as error:  # a full disk, a reader that went: workers serve all the same
                if first:
                    raise
                log.error("workers_not_told", pids=pids, error=str(error))

    async def _renew_when_asked(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await first_of(self._renewal.wait(), stopping.wait())
            if not stopping.is_set():
                self._renewal.clear()
                await first_of(self._renew(), stopping.wait())

    async def _renew(self) -> None:
        log.info("rolling_restart_began", workers=len(self._places))
        for place in self._places:
            if not await place.renewed():
                log.error("rolling_restart_stopped", at_worker=place.index)
                return
        log.info("rolling_restart_ended", workers=len(self._places))
