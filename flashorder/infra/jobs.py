"""Periodic work of the worker: each job has one owner and never runs twice at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)
BACKOFF_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """``run`` does one round and returns how much it did; a full round is followed at once."""

    name: str
    interval_seconds: float
    run: Callable[[], Awaitable[int]]


async def run_jobs(jobs: Sequence[Job], stopping: asyncio.Event) -> None:
    """Run ``jobs`` until ``stopping`` is set; a round that has begun is finished first."""
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(_repeat(job, stopping), name=f"job:{job.name}")


async def _repeat(job: Job, stopping: asyncio.Event) -> None:
    failures = 0
    while not stopping.is_set():
        try:
            done = await job.run()
            failures = 0
        except Exception as error:  # the next round tries again; the failure is told, not hidden
            done = 0
            failures += 1
            log.warning("job_failed", job=job.name, failures=failures, error=repr(error))
        pause_seconds = 0.0 if done else job.interval_seconds * random.uniform(0.9, 1.1)
        if failures:
            backoff = min(BACKOFF_SECONDS_MAX, 0.2 * 2 ** min(failures, 8))
            pause_seconds = max(pause_seconds, random.uniform(backoff / 2, backoff))
        await _wait(stopping, pause_seconds)


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
