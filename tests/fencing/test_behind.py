"""Stores that are killed and come back, whole or with an older disk, under who sells on them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.fencing.metrics import FencingMetrics
from flashorder.fencing.service import Fencing
from flashorder.fencing.watch import LifeWatch, Nothing, ToldLines
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.lives import Told
from flashorder.kernel.errors import StoreUnavailable
from flashorder.reservations.admission import Admission
from flashorder.reservations.batching import Batcher
from flashorder.reservations.honouring import Honouring, Presented
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.records import HonourCode, Purchase, ReserveCode
from flashorder.sales.front import FENCED, FrontSale, SaleFront
from flashorder.settings import Settings
from tests.consumer.shop import Shop
from tests.reservations.front import a_purchase
from tests.stores import BreakableStores

ACCEPTED, CLOSED = ReserveCode.ACCEPTED, ReserveCode.STALE_GENERATION
SETTINGS = Settings(store_watch_seconds=0.05, consumer_block_seconds=0.05)


@dataclass
class Stall:
    """A sale in stores of its own, with a seller whose connection outlives nothing."""

    stores: BreakableStores
    pool: Pool
    redis: Redis
    sale: FrontSale
    fencing: Fencing
    batcher: Batcher

    @property
    def log_folder(self) -> Path:
        return self.stores.store_folder / "appendonlydir"

    async def buy(self) -> ReserveCode:
        return (await self.batcher.submit(a_purchase(self.sale))).code

    async def sells(self) -> ReserveCode:
        """What a buyer is told who asks again while the store is away."""
        async with asyncio.timeout(20):
            while True:
                try:
                    return await self.buy()
                except StoreUnavailable:
                    await asyncio.sleep(0.02)

    def remember(self, folder: Path) -> None:
        """What the disk has now."""
        shutil.copytree(self.log_folder, folder)

    async def comes_back(self, folder: Path | None = None) -> None:
        """Killed, and started again, on the disk as it was in ``folder``."""
        await self.stores.store.kill()
        if folder is not None:
            shutil.rmtree(self.log_folder)
            shutil.copytree(folder, self.log_folder)
        await self.stores.store.start()
        await self.redis.connection_pool.disconnect()  # nobody has to meet their end first

    @asynccontextmanager
    async def watched(self, watch: LifeWatch) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        task = asyncio.create_task(watch.run(stopping))
        try:
            yield
        finally:
            stopping.set()
            await task

    async def is_fenced(self) -> bool:
        there = await SaleFront(self.redis, 1).snapshot(self.sale.sale_id)
        return [shard.generation for shard in there] == [FENCED]


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def stall(stores: BreakableStores) -> AsyncIterator[Stall]:
    redis = connect_redis(stores.store.url)
    pool = await connect_postgres(
        stores.database.url, connections_min=0, acquire_timeout_seconds=0.5
    )
    shop = await Shop.open(pool, redis, 1000)
    fencing = Fencing(
        pool,
        lambda: connect_redis(stores.store.url, connections_max=1),
        1,
        FencingMetrics(CollectorRegistry()),
    )
    batcher = Batcher(
        redis,
        0,
        batch_max=16,
        waiting_max=100,
        metrics=ReserveMetrics(CollectorRegistry()),
        fence=fencing,
    )
    stopping = asyncio.Event()
    owner = asyncio.create_task(batcher.run(stopping))
    yield Stall(stores, pool, redis, shop.sale, fencing, batcher)
    stopping.set()
    await owner
    await redis.aclose()
    await pool.close()


async def test_a_store_that_was_killed_and_lost_nothing_sells_on(stall: Stall) -> None:
    assert await stall.buy() is ACCEPTED
    for _ in range(2):
        told = stall.batcher.told
        by, highest = told.by, told.highest
        await stall.comes_back()
        assert await stall.sells() is ACCEPTED
        assert told.by != by
        assert told.highest > highest
    assert not await stall.is_fenced()


async def test_a_seller_finds_an_older_disk_by_what_it_was_told(
    stall: Stall, tmp_path: Path
) -> None:
    assert await stall.buy() is ACCEPTED
    stall.remember(tmp_path / "older")
    assert await stall.buy() is ACCEPTED
    await stall.comes_back(tmp_path / "older")
    assert await stall.sells() is CLOSED
    assert await stall.is_fenced()
    # It has no more than it had, and is no alarm again: what was lost was given up.
    await stall.comes_back()
    assert await stall.sells() is CLOSED
    identity, gave_up = await stall.redis.hmget(keys.life(0), "identity", "gave_up")
    assert gave_up not in (None, identity)


async def test_nothing_is_honoured_by_a_store_that_is_behind(stall: Stall, tmp_path: Path) -> None:
    """Who honours receipts was told of an entry as well, and of that one alone."""
    metrics = ReserveMetrics(CollectorRegistry())
    admission = Admission(stall.redis, memory_share_max=0.9, metrics=metrics)
    honouring = Honouring(stall.redis, 1, admission, stall.fencing)

    async def says(lost: Purchase) -> HonourCode:
        async with asyncio.timeout(20):
            while True:
                try:
                    return (await honouring.honour(Presented(lost, 255))).code
                except StoreUnavailable:
                    await asyncio.sleep(0.02)

    kept, lost = a_purchase(stall.sale), a_purchase(stall.sale)
    assert await says(kept) is HonourCode.HONOURED
    stall.remember(tmp_path / "older")
    assert await says(lost) is HonourCode.HONOURED
    await stall.comes_back(tmp_path / "older")
    assert await says(lost) is HonourCode.STALE_GENERATION
    assert await says(kept) is HonourCode.KNOWN
    assert await stall.is_fenced()
    await honouring.close()


async def test_an_older_disk_is_found_although_nobody_buys(stall: Stall, tmp_path: Path) -> None:
    stall.remember(tmp_path / "older")
    assert await stall.buy() is ACCEPTED
    watch = LifeWatch(stall.redis, stall.fencing, ToldLines([stall.batcher.told]), SETTINGS)
    async with stall.watched(watch):
        await stall.comes_back(tmp_path / "older")
        await eventually(stall.is_fenced)


async def test_an_older_disk_is_found_by_what_postgresql_has(stall: Stall, tmp_path: Path) -> None:
    stall.remember(tmp_path / "older")
    assert await stall.buy() is ACCEPTED
    await Consumer(stall.redis, stall.pool, SETTINGS).drain_all()
    async with stall.watched(LifeWatch(stall.redis, stall.fencing, Nothing(), SETTINGS)):
        await stall.comes_back(tmp_path / "older")
        await eventually(stall.is_fenced)


async def test_an_older_disk_is_found_by_a_consumer_with_entries_in_hand(
    stall: Stall, tmp_path: Path
) -> None:
    consumer = Consumer(stall.redis, stall.pool, SETTINGS)
    watch = LifeWatch(stall.redis, stall.fencing, consumer, SETTINGS)
    assert await stall.buy() is ACCEPTED
    await consumer.drain_all()
    await watch.look(0)
    stall.remember(tmp_path / "older")
    assert await stall.buy() is ACCEPTED
    (lane,) = consumer._lanes
    in_hand = await lane.next(0.05)
    assert len(in_hand.entries) == 1
    await stall.comes_back(tmp_path / "older")
    # Whoever knows no more than PostgreSQL takes it for whole.
    await LifeWatch(stall.redis, stall.fencing, Nothing(), SETTINGS).look(0)
    assert not await stall.is_fenced()
    await watch.look(0)
    assert await stall.is_fenced()
    # Its batch stands all the same; the consumer is told of it no second time.
    await consumer._place(lane, in_hand)
    await watch.look(0)
    assert [told.highest for told in consumer.told(0)] == [b"0-0"]


async def test_a_loss_is_found_by_who_only_looked(stall: Stall, tmp_path: Path) -> None:
    """Nobody lives who was told of the purchase; somebody saw how far the stream was."""
    watch = LifeWatch(stall.redis, stall.fencing, Nothing(), SETTINGS)
    stall.remember(tmp_path / "older")
    assert await stall.buy() is ACCEPTED
    await watch.look(0)
    stall.batcher.told = Told()
    await stall.comes_back(tmp_path / "older")
    await watch.look(0)
    assert await stall.is_fenced()


async def test_without_postgresql_only_a_server_that_is_new_is_not_sold_on(stall: Stall) -> None:
    assert await stall.buy() is ACCEPTED
    await stall.stores.database.kill()
    # The same server: a lost connection costs nothing.
    for each in await stall.redis.client_list():
        if each["id"] != str(await stall.redis.client_id()):
            await stall.redis.client_kill_filter(_id=each["id"])
    assert await stall.sells() is ACCEPTED

    await stall.comes_back()
    with pytest.raises(StoreUnavailable) as raised:
        await stall.buy()
    assert raised.value.retry_after_seconds
    clock = asyncio.get_running_loop().time
    began = clock()
    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            await stall.buy()
    assert clock() - began < 0.5  # known: nobody waits for PostgreSQL
    await stall.stores.database.start()
    assert await stall.sells() is ACCEPTED


async def test_a_server_that_cannot_be_entered_is_not_sold_on_when_it_is_asked_again(
    stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection outlives a greeting that failed."""
    assert await stall.buy() is ACCEPTED
    await stall.comes_back()

    async def fails(shard: int, told: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as failing:
        failing.setattr(stall.fencing, "settle", fails)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await stall.buy()
            await asyncio.sleep(0.1)
        assert await stall.redis.xlen(keys.intents(0)) == 1
    assert await stall.sells() is ACCEPTED


async def test_a_bought_key_is_still_replayed_behind_the_fence(
    stall: Stall, tmp_path: Path
) -> None:
    kept: Purchase = a_purchase(stall.sale)
    assert (await stall.batcher.submit(kept)).code is ACCEPTED
    stall.remember(tmp_path / "older")
    assert await stall.buy() is ACCEPTED
    await stall.comes_back(tmp_path / "older")
    assert await stall.sells() is CLOSED
    assert (await stall.batcher.submit(kept)).code is ReserveCode.REPLAYED
