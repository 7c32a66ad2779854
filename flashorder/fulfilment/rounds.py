"""A round of calls to carriers: a few at once, and none more to a carrier that is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from flashorder.kernel.errors import ProviderUnavailable

log = structlog.get_logger(__name__)
T = TypeVar("T")

CALLS_AT_ONCE_MAX = 8


async def call_each(
    claimed: Sequence[T], carrier_of: Callable[[T], str], call: Callable[[T], Awaitable[bool]]
) -> int:
    """``call`` for each of ``claimed``; returns how many times it was true.

    A carrier that raised ``ProviderUnavailable`` as many times in a row as there are calls at once
    is away: it rests until the next round. What was claimed and not called for has its next turn
    already.
    """
    slots = asyncio.Semaphore(CALLS_AT_ONCE_MAX)
    silences: Counter[str] = Counter()

    async def one(item: T) -> bool:
        carrier = carrier_of(item)
        async with slots:
            if silences[carrier] >= CALLS_AT_ONCE_MAX:
                return False
            try:
                done = await call(item)
            except ProviderUnavailable as failure:
                log.info("carrier_did_not_answer", carrier=carrier, reason=failure.detail)
                silences[carrier] += 1
                if silences[carrier] == CALLS_AT_ONCE_MAX:
                    log.warning("carrier_away", carrier=carrier, reason=failure.detail)
                return False
            silences[carrier] = 0
            return done

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in claimed]
    return sum(task.result() for task in tasks)
