"""From the stream into PostgreSQL: once each, whoever dies on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from flashorder.consumer import Consumer, service
from flashorder.consumer.placing import Placing
from flashorder.consumer.stream import GROUP, IntentStream
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.keys import intents
from flashorder.kernel.errors import DatabaseUnavailable
from flashorder.kernel.identifiers import new_id, order_number
from tests.consumer.shop import PRICE, SKU, Shop, settings
from tests.stores import BreakableStores

KEY = intents(0)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


async def pending(redis: Redis) -> int:
    return int((await redis.xpending(KEY, GROUP))["pending"])


async def test_a_purchase_becomes_an_order_with_all_that_belongs_to_it(shop: Shop) -> None:
    address_id, buyer_id = new_id(), new_id()
    await shop.pool.execute(
        "INSERT INTO accounts (account_id, email, role, name) VALUES ($1, 'a@b.c', 'shopper', 'A')",
        buyer_id,
    )
    await shop.pool.execute(
        "INSERT INTO addresses (address_id, account_id, recipient, line1, city, postal_code,"
        " country) VALUES ($1, $2, 'A', 'Street 1', 'Town', '1', 'GB')",
        address_id,
        buyer_id,
    )
    bought = await shop.buy(2, buyer_id)
    assert await Consumer(shop.redis, shop.pool, settings()).drain_all() == 1

    order = await shop.pool.fetchrow("SELECT * FROM orders")
    assert order["order_id"] == bought.order_id
    assert order["order_number"] == order_number(bought.order_id.bytes)
    assert (order["status"], order["version"], order["hold"]) == ("pending_payment", 1, 1)
    assert (order["total_amount"], order["currency"]) == (2 * PRICE, "GBP")
    assert order["ship_to"] == {
        "recipient": "A", "line1": "Street 1", "city": "Town", "postal_code": "1", "country": "GB",
    }  # fmt: skip
    assert (order["payment_due_at"] - order["accepted_at"]).total_seconds() == 900
    line = await shop.pool.fetchrow("SELECT * FROM order_lines")
    assert (line["sku"], line["name"], line["quantity"]) == (SKU, f"Name of {SKU}", 2)
    event = await shop.pool.fetchrow("SELECT * FROM order_events")
    assert (event["version"], event["type"], event["actor"]) == (1, "placed", "buyer")
    told = await shop.pool.fetchrow("SELECT * FROM outbox")
    assert told["topic"] == "order.placed"
    assert told["payload"] == {"order_id": str(bought.order_id), "version": 1}
    assert await shop.committed() == 2
    assert await pending(shop.redis) == 0
    assert await shop.violations() == []


async def test_a_redelivered_batch_changes_nothing(shop: Shop) -> None:
    await shop.add_entry(5)
    stream = IntentStream(shop.redis, 0, "dies after its commit", entries_max=10)
    await stream.create_group()
    entries = await stream.read_new()
    assert (await Placing(shop.pool, 0).place(entries)).orders == 5
    # Killed between COMMIT and XACK: started again under its name, it finds the batch.
    consumer = Consumer(shop.redis, shop.pool, settings(consumer_name="dies after its commit"))
    assert await pending(shop.redis) == 5
    assert await consumer.drain_once() == 5
    assert await pending(shop.redis) == 0
    assert await shop.committed() == 5
    assert await shop.count("orders") == await shop.count("order_lines") == 5
    assert await shop.count("order_events") == await shop.count("outbox") == 5
    assert await shop.count("dead_letters") == 0


async def test_what_a_dead_consumer_held_is_claimed_after_a_while(shop: Shop) -> None:
    await shop.add_entry(3)
    dead = IntentStream(shop.redis, 0, "dead", entries_max=2)
    await dead.create_group()
    assert len(await dead.read_new()) == 2
    stopping = asyncio.Event()
    running = asyncio.create_task(Consumer(shop.redis, shop.pool, settings()).run(stopping))
    try:
        await eventually(lambda: _is(shop.count("orders"), 3))
        await eventually(lambda: _is(pending(shop.redis), 0))
    finally:
        stopping.set()
        await running
    assert await shop.committed() == 3


async def _is(value: Awaitable[int], wanted: int) -> bool:
    return await value == wanted


async def test_entries_from_before_the_group_are_read(shop: Shop) -> None:
    await shop.add_entry(2)
    assert await Consumer(shop.redis, shop.pool, settings()).drain_all() == 2
    assert await shop.count("orders") == 2


async def test_several_consumers_share_the_work_and_never_oversell(
    pool: Pool, redis: Redis
) -> None:
    skus = ("A", "B", "C")
    shop = await Shop.open(pool, redis, 100, skus=skus, allotted=100)
    for turn in range(40):
        for sku in skus if turn % 2 else reversed(skus):
            await shop.add_entry(3, sku=sku)
    stopping = asyncio.Event()
    small = settings(consumer_batch_entries_max=7)
    consumers = [Consumer(redis, pool, small) for _ in range(3)]
    running = [asyncio.create_task(each.run(stopping)) for each in consumers]
    try:
        await eventually(lambda: _handled(shop, 360))
    finally:
        stopping.set()
        await asyncio.gather(*running)
    assert [await shop.committed(sku) for sku in skus] == [100, 100, 100]
    assert await shop.count("orders") == 300
    assert await shop.count("dead_letters") == 60
    assert await shop.violations() == []
    assert await pending(redis) == 0


async def _handled(shop: Shop, wanted: int) -> bool:
    return await shop.count("orders") + await shop.count("dead_letters") == wanted


async def test_a_consumer_that_stops_leaves_the_group_only_with_empty_hands(shop: Shop) -> None:
    await shop.add_entry(2)
    stopping = asyncio.Event()
    consumer = Consumer(shop.redis, shop.pool, settings())
    running = asyncio.create_task(consumer.run(stopping))
    await eventually(lambda: _is(shop.count("orders"), 2))
    stopping.set()
    await running
    assert await shop.redis.xinfo_consumers(KEY, GROUP) == []

    holder = IntentStream(shop.redis, 0, "holder", entries_max=10)
    await shop.add_entry(1)
    await holder.read_new()
    await holder.leave()
    assert [each["name"] for each in await shop.redis.xinfo_consumers(KEY, GROUP)] == [b"holder"]
    assert await pending(shop.redis) == 1


async def test_names_of_the_dead_do_not_stay(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FORGET_IDLE_SECONDS", 0.3)
    killed = IntentStream(shop.redis, 0, "killed", entries_max=10)
    await killed.create_group()
    await shop.add_entry(1)
    await killed.read_new()
    stopping = asyncio.Event()
    consumer = Consumer(shop.redis, shop.pool, settings())
    running = asyncio.create_task(consumer.run(stopping))
    try:
        await eventually(lambda: _names_are(shop.redis, [consumer.name.encode()]))
        # What it held was claimed before, and so becomes an order.
        await eventually(lambda: _is(shop.count("orders"), 1))
    finally:
        stopping.set()
        await running


async def _names_are(redis: Redis, wanted: list[bytes]) -> bool:
    return [each["name"] for each in await redis.xinfo_consumers(KEY, GROUP)] == wanted


async def test_it_stops_while_the_database_is_away_and_loses_nothing(shop: Shop) -> None:
    nowhere = await connect_postgres(
        "postgresql://nobody@127.0.0.1:9/none", connections_min=0, connections_max=1
    )
    await shop.add_entry(3)
    stopping = asyncio.Event()
    running = asyncio.create_task(Consumer(shop.redis, nowhere, settings()).run(stopping))
    try:
        await eventually(lambda: _any_pending(shop.redis))
        await asyncio.sleep(0.3)  # some tries
    finally:
        stopping.set()
        await asyncio.wait_for(running, 5)
        await nowhere.close()
    assert await pending(shop.redis) == 3
    assert await shop.count("orders") == 0
    assert await shop.count("dead_letters") == 0


async def _any_pending(redis: Redis) -> bool:
    groups = await redis.xinfo_groups(KEY)
    return any(group["pending"] for group in groups)


async def test_both_stores_may_go_away_for_a_while(stores: BreakableStores) -> None:
    pool = await connect_postgres(stores.database_url, connections_max=4)
    redis = connect_redis(stores.redis_url, timeout_seconds=1.0)
    shop = await Shop.open(pool, redis, 100)
    stopping = asyncio.Event()
    running = asyncio.create_task(Consumer(redis, pool, settings()).run(stopping))
    try:
        await shop.add_entry(10)
        await eventually(lambda: _is(shop.count("orders"), 10))
        await stores.database.kill()
        await shop.add_entry(20)
        await eventually(lambda: _any_pending(redis))
        await stores.store.kill()
        await asyncio.sleep(0.2)
        await stores.store.start()
        await stores.database.start()
        await eventually(lambda: _calmly(shop, 30), 20)
        assert await shop.committed() == 30
        assert await shop.count("dead_letters") == 0
        assert await shop.violations() == []
    finally:
        stopping.set()
        await asyncio.wait_for(running, 10)
        await redis.aclose()
        pool.terminate()


async def _calmly(shop: Shop, wanted: int) -> bool:
    try:
        return await shop.count("orders") == wanted
    except Exception:
        return False


async def test_placing_tells_the_weather_from_the_entries(shop: Shop) -> None:
    nowhere = await connect_postgres(
        "postgresql://nobody@127.0.0.1:9/none", connections_min=0, connections_max=1
    )
    await shop.add_entry(1)
    stream = IntentStream(shop.redis, 0, "one", entries_max=10)
    await stream.create_group()
    with pytest.raises(DatabaseUnavailable):
        await Placing(nowhere, 0).place(await stream.read_new())
    await nowhere.close()


async def test_the_store_forgetting_everything_does_not_stop_it(shop: Shop) -> None:
    stopping = asyncio.Event()
    running = asyncio.create_task(Consumer(shop.redis, shop.pool, settings()).run(stopping))
    try:
        await shop.add_entry(1)
        await eventually(lambda: _is(shop.count("orders"), 1))
        await shop.redis.flushall()
        await shop.add_entry(1)
        await eventually(lambda: _is(shop.count("orders"), 2))
    finally:
        stopping.set()
        await running
