"""The view in memory: shared readings, nothing from before the question, nothing backwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.errors import StoreUnavailable
from flashorder.kernel.identifiers import new_id
from flashorder.sales.directory import SaleDirectory
from flashorder.sales.front import FrontSale, SaleFront
from flashorder.sales.model import SaleStatus
from tests.sales.conftest import House
from tests.stores import BreakableStores


class Counted(SaleFront):
    """Counts the readings, and can hold one back or falsify it."""

    readings = 0
    answer: list[FrontSale] | None = None
    gate: asyncio.Event | None = None

    async def read_all(self) -> list[FrontSale]:
        self.readings += 1
        found = await super().read_all() if self.answer is None else self.answer
        if self.gate is not None:
            await self.gate.wait()
        return found


def counted(house: House) -> Counted:
    return Counted(house.front._redis, house.settings.shards)


async def test_it_finds_what_was_opened_a_moment_ago(house: House) -> None:
    directory = SaleDirectory(house.front, refresh_seconds=60)
    await directory.refresh()
    sale = await house.opened()
    assert directory.get(sale.sale_id) is None
    found = await directory.find(sale.sale_id)
    assert found is not None
    assert found.status is SaleStatus.OPEN
    assert directory.get(sale.sale_id) is found
    assert await directory.find(new_id()) is None


async def test_askers_share_one_reading_and_it_begins_after_they_asked(house: House) -> None:
    front = counted(house)
    front.gate = asyncio.Event()
    directory = SaleDirectory(front, refresh_seconds=60)
    early = asyncio.create_task(directory.refresh())
    while not front.readings:
        await asyncio.sleep(0)
    sale = await house.opened()
    late = [asyncio.create_task(directory.find(sale.sale_id)) for _ in range(50)]
    while not all(task.get_coro() for task in late):
        await asyncio.sleep(0)
    front.gate.set()
    await early
    assert all(await asyncio.gather(*late))
    assert front.readings == 2


async def test_an_asker_who_leaves_in_the_middle_does_not_answer_for_the_others(
    house: House,
) -> None:
    front = counted(house)
    front.gate = asyncio.Event()
    directory = SaleDirectory(front, refresh_seconds=60)
    first = asyncio.create_task(directory.refresh())
    while not front.readings:
        await asyncio.sleep(0)
    second = asyncio.create_task(directory.refresh())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    front.gate.set()
    await second
    assert not directory.stale


async def test_a_generation_never_goes_backwards(house: House) -> None:
    sale = await house.opened()
    front = counted(house)
    directory = SaleDirectory(front, refresh_seconds=60)
    there = await house.front.read(sale.sale_id)
    assert there is not None
    for generation, seen in ((3, 3), (1, 3), (4, 4)):
        front.answer = [replace(there, generation=generation)]
        await directory.refresh()
        known = directory.get(sale.sale_id)
        assert known is not None
        assert known.generation == seen
    front.answer = []
    await directory.refresh()
    assert directory.get(sale.sale_id) is None
    front.answer = [replace(there, generation=2)]
    await directory.refresh()
    known = directory.get(sale.sale_id)
    assert known is not None
    assert known.generation == 4


async def test_freshening_reads_at_most_once_an_interval(house: House) -> None:
    front = counted(house)
    directory = SaleDirectory(front, refresh_seconds=60)
    for _ in range(5):
        await directory.freshen()
    assert front.readings == 1


async def test_the_task_follows_the_front_and_ends_when_told(house: House) -> None:
    directory = SaleDirectory(house.front, refresh_seconds=0.01)
    stopping = asyncio.Event()
    running = asyncio.create_task(directory.run(stopping))
    sale = await house.opened()
    async with asyncio.timeout(5):
        while directory.get(sale.sale_id) is None:
            await asyncio.sleep(0.005)
        await house.service.pause(sale.sale_id)
        while (known := directory.get(sale.sale_id)) and known.status is not SaleStatus.PAUSED:
            await asyncio.sleep(0.005)
    stopping.set()
    await asyncio.wait_for(running, 5)


async def test_it_tells_the_stores_time(house: House) -> None:
    directory = SaleDirectory(house.front, refresh_seconds=60)
    await directory.refresh()
    assert abs(directory.now_ms() - await house.front.now_ms()) < 500


async def test_with_the_store_away_the_last_reading_stays_and_is_marked(
    house: House, stores: BreakableStores
) -> None:
    sale = await house.opened()
    there = await house.front.read(sale.sale_id)
    assert there is not None
    redis = connect_redis(stores.redis_url, timeout_seconds=0.5)
    front = SaleFront(redis, 1)
    await front.open(there)
    directory = SaleDirectory(front, refresh_seconds=0.01)
    await directory.refresh()
    assert not directory.stale
    await stores.store.kill()
    with pytest.raises(StoreUnavailable):
        await directory.refresh()
    assert directory.stale
    await directory.freshen()
    assert directory.get(sale.sale_id) is not None
    with pytest.raises(StoreUnavailable):
        await directory.find(new_id())
    nothing_yet = SaleDirectory(front, refresh_seconds=0.01)
    with pytest.raises(StoreUnavailable):
        await nothing_yet.freshen()
    await stores.store.start()
    stopping = asyncio.Event()
    running = asyncio.create_task(directory.run(stopping))
    async with asyncio.timeout(10):
        while directory.stale:
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    await redis.aclose()


async def test_nobody_queues_for_the_time_outs_of_a_store_that_hangs(
    stores: BreakableStores,
) -> None:
    redis = connect_redis(stores.redis_url, timeout_seconds=0.5)
    directory = SaleDirectory(SaleFront(redis, 1), refresh_seconds=0.01)
    await directory.refresh()
    stores.store.pause()
    try:
        clock = asyncio.get_running_loop().time
        began = clock()
        found = await asyncio.gather(
            *(directory.find(new_id()) for _ in range(20)), return_exceptions=True
        )
        assert all(isinstance(each, StoreUnavailable) for each in found)
        assert clock() - began < 2 * 0.5  # one time-out, shared
    finally:
        stores.store.resume()
    await redis.aclose()
