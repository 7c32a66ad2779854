"""Periodic jobs: again at once after work, later after none, with backoff after a failure."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from flashorder.infra.jobs import Job, run_jobs


async def run_until(job: Job, enough: asyncio.Event) -> None:
    stopping = asyncio.Event()
    owner = asyncio.create_task(run_jobs([job], stopping))
    async with asyncio.timeout(10):
        await enough.wait()
    stopping.set()
    await owner


def counting(
    rounds_max: int, outcome: Callable[[int], int]
) -> tuple[list[float], asyncio.Event, Callable[[], Awaitable[int]]]:
    times: list[float] = []
    enough = asyncio.Event()

    async def run() -> int:
        times.append(asyncio.get_running_loop().time())
        if len(times) >= rounds_max:
            enough.set()
        return outcome(len(times))

    return times, enough, run


async def test_a_full_round_is_followed_at_once() -> None:
    times, enough, run = counting(5, lambda number: 1)
    await run_until(Job("j", 60.0, run), enough)
    assert len(times) >= 5


async def test_an_empty_round_is_followed_after_the_interval() -> None:
    times, enough, run = counting(3, lambda number: 0)
    await run_until(Job("j", 0.1, run), enough)
    assert all(later - earlier >= 0.08 for earlier, later in itertools.pairwise(times))


async def test_a_failing_job_backs_off_and_goes_on() -> None:
    def fail(number: int) -> int:
        if number <= 3:
            raise RuntimeError
        return 0

    times, enough, run = counting(4, fail)
    await run_until(Job("j", 0.0, run), enough)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[2] > pauses[0] >= 0.15


async def test_a_round_that_has_begun_is_finished() -> None:
    begun, finished = asyncio.Event(), asyncio.Event()

    async def run() -> int:
        begun.set()
        await asyncio.sleep(0.05)
        finished.set()
        return 0

    await run_until(Job("j", 60.0, run), begun)
    assert finished.is_set()
