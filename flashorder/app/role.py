"""Something that runs until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from flashorder.infra.telemetry.metrics import Metrics

Run = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Role:
    """Something that runs until it is told to stop, and then finishes what it has in hand."""

    runs: Sequence[Run]
    metrics: Metrics

    async def run(self, stopping: asyncio.Event) -> None:
        """Run every part; the first that fails ends the others."""
        async with asyncio.TaskGroup() as group:
            for run in self.runs:
                group.create_task(_await(run, stopping))


@asynccontextmanager
async def running(role: Role) -> AsyncIterator[None]:
    """Run ``role`` beside the body; it is told to stop at the end, and awaited.

    If it ends with a failure before, the body is cancelled: a process that has lost a part of
    itself must end and be started again, not go on answering.
    """
    stopping = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(role.run(stopping))
            try:
                yield
            finally:
                stopping.set()
    except BaseExceptionGroup as failures:
        raise _lone(failures) from None


def _lone(failure: BaseException) -> BaseException:
    """What is inside of groups of one, so that a failure of ours is told as what it is."""
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure


async def _await(run: Run, stopping: asyncio.Event) -> None:
    await run(stopping)
