"""Calls to carriers go side by side, and leave one that is away alone."""

from __future__ import annotations

import asyncio
from collections import Counter

from flashorder.fulfilment.rounds import CALLS_AT_ONCE_MAX, call_each
from flashorder.kernel.errors import ProviderUnavailable

PARCELS = 10 * CALLS_AT_ONCE_MAX


async def test_a_few_are_asked_at_once_and_no_more() -> None:
    under_way, most = 0, 0
    together = asyncio.Barrier(CALLS_AT_ONCE_MAX)

    async def call(number: int) -> bool:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await together.wait()  # one after another, nobody would ever pass
        under_way -= 1
        return number % 2 == 0

    async with asyncio.timeout(5):
        assert await call_each(range(PARCELS), lambda number: "one", call) == PARCELS / 2
    assert most == CALLS_AT_ONCE_MAX


async def test_a_carrier_that_is_away_rests_and_the_others_go_on() -> None:
    calls: Counter[str] = Counter()

    async def call(carrier: str) -> bool:
        calls[carrier] += 1
        await asyncio.sleep(0)
        if carrier == "away":
            raise ProviderUnavailable
        return True

    claimed = ["away", "here"] * PARCELS
    assert await call_each(claimed, str, call) == PARCELS
    assert calls["here"] == PARCELS
    assert calls["away"] < 2 * CALLS_AT_ONCE_MAX


async def test_one_that_stumbles_is_not_away() -> None:
    calls = 0

    async def call(number: int) -> bool:
        nonlocal calls
        calls += 1
        if number % CALLS_AT_ONCE_MAX:
            raise ProviderUnavailable
        return True

    assert await call_each(range(PARCELS), lambda number: "clumsy", call) == 10
    assert calls == PARCELS
