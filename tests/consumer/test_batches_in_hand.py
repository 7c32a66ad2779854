"""While PostgreSQL has one batch, the next are at hand; and what if something ends in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.consumer.lane import Lane
from flashorder.consumer.placing import Placing
from flashorder.consumer.service import BATCHES_IN_HAND_MAX
from flashorder.consumer.stream import IntentStream
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis.connection import connect_redis
from flashorder.settings import Settings
from tests.consumer.shop import Shop, settings
from tests.consumer.test_service import GROUP, KEY, eventually, pending
from tests.stores import BreakableStores

BATCH = 5
IN_HAND = BATCH * BATCHES_IN_HAND_MAX


def patient(**changes: Any) -> Settings:
    """Small batches, and nothing is claimed meanwhile: a claim is made with empty hands."""
    return settings(consumer_batch_entries_max=BATCH, consumer_claim_idle_seconds=60.0, **changes)


@pytest_asyncio.fixture
async def shop(pool: Pool, redis: Redis) -> Shop:
    return await Shop.open(pool, redis, 100, skus=("A", "B"))


@asynccontextmanager
async def no_commits(shop: Shop, sku: str = "A") -> AsyncIterator[None]:
    """Meanwhile nobody gets past the stock guard of the item."""
    async with shop.pool.acquire() as other, other.transaction():
        await other.execute(
            "SELECT FROM sale_items WHERE sale_id = $1 AND sku = $2 FOR UPDATE", shop.sale_id, sku
        )
        yield


@asynccontextmanager
async def draining(shop: Shop, **changes: Any) -> AsyncIterator[asyncio.Event]:
    """A consumer at work; yields what stops it, and stops it at the end."""
    stopping = asyncio.Event()
    consumer = Consumer(shop.redis, shop.pool, patient(**changes))
    running = asyncio.create_task(consumer.run(stopping))
    try:
        yield stopping
    finally:
        stopping.set()
        await asyncio.wait_for(running, 10)


async def at_the_guard(shop: Shop, batches: int) -> None:
    """Until so many transactions wait there."""

    async def waiting() -> bool:
        return batches == await shop.pool.fetchval(
            "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        )

    await eventually(waiting)


async def placed(shop: Shop, orders: int) -> None:
    async def there() -> bool:
        return await shop.count("orders") == orders

    await eventually(there)


async def unacknowledged(shop: Shop, entries: int) -> None:
    async def so_many() -> bool:
        return await pending(shop.redis) == entries

    await eventually(so_many)


async def each_is_one_order(shop: Shop, orders: int) -> None:
    """All that belongs to them, once."""
    for table in ("orders", "order_lines", "order_events", "outbox"):
        assert await shop.count(table) == orders
    assert await shop.count("dead_letters") == 0
    assert await shop.violations() == []


async def test_the_next_batches_are_in_hand_while_one_is_placed_and_no_more_than_that(
    shop: Shop,
) -> None:
    await shop.add_entry(8 * BATCH)
    async with draining(shop):
        async with no_commits(shop):
            await at_the_guard(shop, BATCHES_IN_HAND_MAX)
            assert await pending(shop.redis) == IN_HAND
        await placed(shop, 8 * BATCH)
        await unacknowledged(shop, 0)
    await each_is_one_order(shop, 8 * BATCH)


async def test_it_reads_on_only_while_there_is_a_backlog(shop: Shop) -> None:
    stream = IntentStream(shop.redis, 0, "me", entries_max=BATCH)
    lane = Lane(stream, Placing(shop.pool, 0), patient())
    assert not lane.may_read_ahead, "what a former life left comes first"
    await shop.add_entry(2 * BATCH + 1)
    lane.done(await lane.next(None))
    assert lane.may_read_ahead
    lane.interrupted()
    assert not lane.may_read_ahead, "an answer may be lost: its entries come first"
    lane.done(await lane.next(None))
    assert len((await lane.read_ahead()).entries) == 1
    assert not lane.may_read_ahead, "a batch that waits a little will be a larger one"


async def test_to_claim_it_empties_its_hands_first(shop: Shop) -> None:
    stream = IntentStream(shop.redis, 0, "me", entries_max=BATCH)
    lane = Lane(stream, Placing(shop.pool, 0), settings(
        consumer_batch_entries_max=BATCH, consumer_claim_idle_seconds=0.001
    ))  # fmt: skip
    await shop.add_entry(2 * BATCH)
    lane.done(await lane.next(None))
    await eventually(lambda: _is_not(lane))
    dead = IntentStream(shop.redis, 0, "dead", entries_max=BATCH)
    assert len(await dead.read_new()) == BATCH
    await eventually(lambda: _are_idle(shop, "dead"))
    batch = await lane.next(None)
    assert (len(batch.entries), batch.delivered_before) == (BATCH, True)


async def _is_not(lane: Lane) -> bool:
    return not lane.may_read_ahead


async def _are_idle(shop: Shop, consumer: str) -> bool:
    """Whether its entries have been with ``consumer`` for as long as a claim asks for, and more."""
    with_it = await shop.redis.xpending_range(
        KEY, GROUP, min="-", max="+", count=BATCH, consumername=consumer
    )
    return all(each["time_since_delivered"] > 1 for each in with_it)


async def test_a_batch_that_waits_does_not_hold_up_the_acknowledgement_of_others(
    shop: Shop,
) -> None:
    await shop.add_entry(BATCH, sku="A")
    await shop.add_entry(3 * BATCH, sku="B")
    async with draining(shop):
        async with no_commits(shop, "A"):
            await placed(shop, 3 * BATCH)
            await unacknowledged(shop, BATCH)
            stream = IntentStream(shop.redis, 0, "upkeep", entries_max=1)
            assert await stream.trim() == 0, "the oldest entry is still needed"
            assert await shop.redis.xlen(stream.key) == 4 * BATCH
        await placed(shop, 4 * BATCH)
        await unacknowledged(shop, 0)
    await each_is_one_order(shop, 4 * BATCH)


async def test_killed_with_several_in_hand_it_leaves_all_to_others(shop: Shop) -> None:
    await shop.add_entry(IN_HAND + BATCH)
    running = asyncio.create_task(Consumer(shop.redis, shop.pool, patient()).run(asyncio.Event()))
    async with no_commits(shop):
        await at_the_guard(shop, BATCHES_IN_HAND_MAX)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert await shop.count("orders") == 0
    assert await pending(shop.redis) == IN_HAND
    stopping = asyncio.Event()
    heir = asyncio.create_task(Consumer(shop.redis, shop.pool, settings()).run(stopping))
    try:
        await placed(shop, IN_HAND + BATCH)
        await unacknowledged(shop, 0)
    finally:
        stopping.set()
        await heir
    await each_is_one_order(shop, IN_HAND + BATCH)


async def test_killed_with_several_committed_and_none_acknowledged(shop: Shop) -> None:
    await shop.add_entry(IN_HAND + 1)
    dead = IntentStream(shop.redis, 0, "the same name", entries_max=BATCH)
    await dead.create_group()
    for _ in range(BATCHES_IN_HAND_MAX):
        await Placing(shop.pool, 0).place(await dead.read_new())
    assert await pending(shop.redis) == IN_HAND
    async with draining(shop, consumer_name="the same name"):
        await unacknowledged(shop, 0)
        await placed(shop, IN_HAND + 1)
    await each_is_one_order(shop, IN_HAND + 1)


async def test_told_to_stop_with_several_in_hand_it_finishes_them_and_leaves(shop: Shop) -> None:
    await shop.add_entry(IN_HAND + BATCH)
    async with draining(shop) as stopping, no_commits(shop):
        await at_the_guard(shop, BATCHES_IN_HAND_MAX)
        stopping.set()
    await each_is_one_order(shop, IN_HAND)
    assert await pending(shop.redis) == 0
    assert await shop.redis.xinfo_consumers("{s0}:intents", "orders") == []


async def test_poison_in_one_of_several_batches_stops_none(shop: Shop) -> None:
    await shop.add_entry(BATCH + 2)
    await shop.add_entry(1, sku="NOT-IN-SALE")
    await shop.add_entry(1, quantity=0)
    await shop.add_entry(2 * BATCH + 1)
    async with draining(shop):
        async with no_commits(shop):
            await at_the_guard(shop, BATCHES_IN_HAND_MAX)  # the poisoned one with its good half
        await placed(shop, 3 * BATCH + 3)
        await unacknowledged(shop, 0)
    assert await shop.count("dead_letters") == 2
    assert await shop.committed("A") == 3 * BATCH + 3
    assert await shop.violations() == []


async def test_another_consumer_may_claim_what_is_in_hand(shop: Shop) -> None:
    await shop.add_entry(IN_HAND)
    async with draining(shop):
        async with no_commits(shop):
            await at_the_guard(shop, BATCHES_IN_HAND_MAX)
            stopping = asyncio.Event()
            eager = Consumer(shop.redis, shop.pool, settings(consumer_batch_entries_max=BATCH))
            running = asyncio.create_task(eager.run(stopping))
            # It has the first batch as well, and waits for the one who placed it first.
            await at_the_guard(shop, BATCHES_IN_HAND_MAX + 1)
        await placed(shop, IN_HAND)
        await unacknowledged(shop, 0)
        stopping.set()
        await running
    await each_is_one_order(shop, IN_HAND)


async def test_all_in_hand_commit_while_the_store_is_gone(stores: BreakableStores) -> None:
    pool = await connect_postgres(stores.database_url, connections_max=6)
    redis = connect_redis(stores.redis_url, timeout_seconds=1.0)
    try:
        shop = await Shop.open(pool, redis, 100, skus=("A", "B"))
        await shop.add_entry(IN_HAND + 1)
        async with draining(shop):
            async with no_commits(shop):
                await at_the_guard(shop, BATCHES_IN_HAND_MAX)
                await stores.store.kill()
            await placed(shop, IN_HAND)
            await stores.store.start()
            await placed(shop, IN_HAND + 1)
            await unacknowledged(shop, 0)
        await each_is_one_order(shop, IN_HAND + 1)
    finally:
        await redis.aclose()
        await pool.close()


async def test_what_is_committed_while_a_read_waits_is_acknowledged_with_the_next(
    shop: Shop,
) -> None:
    stream = IntentStream(shop.redis, 0, "me", entries_max=BATCH)
    await stream.create_group()
    await shop.add_entry(2 * BATCH)
    first, second = await stream.read_new(), await stream.read_new()
    stream.ack_with_next(first)
    waiting = asyncio.create_task(stream.read_new(10.0))
    await unacknowledged(shop, BATCH)
    stream.ack_with_next(second)
    await shop.add_entry(1)
    assert len(await waiting) == 1
    assert await pending(shop.redis) == BATCH + 1
    await stream.flush_acks()
    assert await pending(shop.redis) == 1
