"""Poison is found by halving; the rest of the batch is applied."""

from __future__ import annotations

import os

import pytest
from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.consumer.placing import Placed, Placing
from flashorder.consumer.stream import IntentStream
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.identifiers import new_id
from tests.consumer.shop import Shop, settings


async def place(shop: Shop) -> Placed:
    stream = IntentStream(shop.redis, 0, new_id().hex, entries_max=1000)
    await stream.create_group()
    return await Placing(shop.pool, 0).place(await stream.read_new())


async def errors(shop: Shop) -> list[str]:
    rows = await shop.pool.fetch("SELECT error FROM dead_letters ORDER BY intent_ms, intent_seq")
    return [row["error"] for row in rows]


@pytest.mark.parametrize(
    ("poison", "why"),
    [
        ({"sku": "NOT-IN-SALE"}, "name"),
        ({"sale_id": os.urandom(16)}, "currency"),
        ({"quantity": "many"}, "int"),
        ({"order_id": None}, "order_id is missing"),
        ({"quantity": 11}, "no units left"),
    ],
)
async def test_the_poison_is_put_aside_and_the_rest_is_placed(
    shop: Shop, poison: dict[str, object], why: str
) -> None:
    await shop.add_entry(3)
    (bad,) = await shop.add_entry(1, **poison)
    await shop.add_entry(4)
    assert await place(shop) == Placed(7, 1)
    assert await shop.committed() == 7
    (error,) = await errors(shop)
    assert why in error
    letter = await shop.pool.fetchrow("SELECT * FROM dead_letters")
    assert letter["status"] == "held"
    if bad.get("order_id"):
        assert letter["order_id"] is None or letter["order_id"].bytes == bad["order_id"]
    assert await shop.violations() == []


async def test_of_too_many_the_earlier_ones_get_the_units(shop: Shop) -> None:
    written = await shop.add_entry(25)
    assert await place(shop) == Placed(10, 15)
    placed = {row[0].bytes for row in await shop.pool.fetch("SELECT order_id FROM orders")}
    assert placed == {fields["order_id"] for fields in written[:10]}
    assert await shop.committed() == 10


async def test_an_entry_put_aside_stays_so_when_it_is_delivered_again(
    pool: Pool, redis: Redis
) -> None:
    shop = await Shop.open(pool, redis, 10, allotted=0)
    await shop.add_entry(1)
    stream = IntentStream(redis, 0, "same", entries_max=10)
    await stream.create_group()
    entries = await stream.read_new()
    placing = Placing(pool, 0)
    assert await placing.place(entries) == Placed(0, 1)
    await pool.execute("UPDATE sale_items SET allotted = 10")  # the cause is gone
    assert await placing.place(entries) == Placed(0, 0)
    assert await shop.count("orders") == 0
    assert await shop.count("dead_letters") == 1


async def test_the_same_order_twice_in_a_batch_is_one_order(shop: Shop) -> None:
    entry = shop.entry()
    await shop.add_entry(2, **entry)
    assert await place(shop) == Placed(1, 0)
    assert await shop.committed() == 1
    assert await shop.violations() == []


async def test_another_buyers_entry_under_the_same_order_id_is_poison(shop: Shop) -> None:
    order_id = new_id().bytes
    await shop.add_entry(2, order_id=order_id)
    assert await place(shop) == Placed(1, 1)
    assert "another order has the place" in (await errors(shop))[0]


async def test_an_entry_without_data_is_seen(shop: Shop) -> None:
    await shop.add_entry(1)
    stream = IntentStream(shop.redis, 0, "me", entries_max=10)
    await stream.create_group()
    await stream.read_new()
    await shop.redis.xtrim(stream.key, maxlen=0, approximate=False)  # what nobody may ever do
    assert await Consumer(shop.redis, shop.pool, settings(consumer_name="me")).drain_all() == 1
    assert "missing" in (await errors(shop))[0]
