"""Poison is found by halving; the rest of the batch is applied."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import flashorder
from flashorder.consumer import Consumer
from flashorder.consumer.placing import SQL, Placed, Placing
from flashorder.consumer.stream import IntentStream
from flashorder.infra.postgres.pool import Pool
from flashorder.infra.redis.keys import intents
from flashorder.inventory.reconciliation.reading import Reader
from flashorder.kernel.identifiers import TOKEN_BYTES, new_id, order_id_prefix
from flashorder.kernel.intents import INTENT_FIELD, unpack_intent
from flashorder.sales.front import SaleFront
from tests.consumer.shop import Shop, settings
from tests.intents import pack_intent


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
        ({"intent": b"many"}, "too short"),
        ({"quantity": 0}, "quantity is 0"),
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
    await shop.add_entry(2, **shop.parts())
    assert await place(shop) == Placed(1, 0)
    assert await shop.committed() == 1
    assert await shop.violations() == []


async def test_another_buyers_entry_under_the_same_order_id_is_poison(shop: Shop) -> None:
    order_id = new_id().bytes
    await shop.add_entry(2, order_id=order_id)
    assert await place(shop) == Placed(1, 1)
    assert "another order has the place" in (await errors(shop))[0]


@pytest.mark.parametrize("batches", [1, 2])
async def test_a_second_order_of_a_token_is_poison(shop: Shop, batches: int) -> None:
    parts = shop.parts()
    token = parts["order_id"][-TOKEN_BYTES:]
    again = order_id_prefix(time.time() + 60) + token  # the front forgot, and the key came again
    await shop.add_entry(1, **parts)
    placed = [await place(shop)] if batches == 2 else []
    await shop.add_entry(1, **{**parts, "order_id": again})
    placed.append(await place(shop))
    assert placed == ([Placed(1, 0), Placed(0, 1)] if batches == 2 else [Placed(1, 1)])
    assert "another order has the place" in (await errors(shop))[0]
    kept = await letter(shop)
    assert (kept["order_id"].bytes, kept["status"]) == (again, "held")
    assert [row[0].bytes for row in await shop.pool.fetch("SELECT order_id FROM orders")] == [
        parts["order_id"]
    ]
    assert await shop.committed() == 1


def test_nothing_else_writes_a_number() -> None:
    """It keeps one order a token, as long as every order has that of its id."""
    package = Path(flashorder.__file__).parent
    texts = {
        path.relative_to(package).as_posix(): path.read_text()
        for ending in ("*.sql", "*.py")
        for path in package.rglob(ending)
    }
    writes = re.compile(
        r"(INSERT\s+INTO|COPY)\s+orders\b|UPDATE\s+orders\b[^;]*\border_number\s*=[^;]*\bWHERE"
        r"|copy_records_to_table\(\s*[\"']orders[\"']"
    )
    assert [name for name, text in texts.items() if writes.search(text)] == [
        "consumer/sql/place_orders.sql"
    ]


async def test_an_entry_without_data_is_seen(shop: Shop) -> None:
    await shop.add_entry(1)
    stream = IntentStream(shop.redis, 0, "me", entries_max=10)
    await stream.create_group()
    await stream.read_new()
    await shop.redis.xtrim(stream.key, maxlen=0, approximate=False)  # what nobody may ever do
    assert await Consumer(shop.redis, shop.pool, settings(consumer_name="me")).drain_all() == 1
    assert "missing" in (await errors(shop))[0]


async def letter(shop: Shop) -> dict[str, Any]:
    return dict(await shop.pool.fetchrow("SELECT * FROM dead_letters"))


@pytest.mark.parametrize("sequence", [2**31, 2**63 - 1, 2**63 + 5])
async def test_an_entry_of_any_id_passes(shop: Shop, sequence: int) -> None:
    good = {INTENT_FIELD: pack_intent(**shop.parts())}
    await shop.redis.xadd(intents(0), good, id=f"1700000000000-{sequence}")
    await shop.redis.xadd(intents(0), {"n": 1}, id=f"1700000000001-{sequence}")
    kept = sequence < 2**63
    assert await place(shop) == (Placed(1, 1) if kept else Placed(0, 2))
    assert await shop.count("orders") + await shop.count("dead_letters") == 2
    reader = Reader(shop.pool, shop.redis, SaleFront(shop.redis, 1), 1)
    await shop.pool.execute("UPDATE sales SET synced_revision = 1")
    assert len(await reader.read(None)) == 1, "and nobody behind it stumbles over it"


async def test_what_the_table_refuses_is_kept_bare_and_blocks_nobody(shop: Shop) -> None:
    await shop.pool.execute("ALTER TABLE dead_letters ADD CHECK (quantity < 12 AND sku <> 'X')")
    await shop.add_entry(1, quantity=11)
    await shop.add_entry(1, quantity=12)
    await shop.add_entry(1, sku="X", quantity=1)
    await shop.add_entry(1)
    assert await place(shop) == Placed(1, 3)
    rows = await shop.pool.fetch("SELECT * FROM dead_letters ORDER BY intent_ms, intent_seq")
    assert [row["quantity"] for row in rows] == [11, None, None]
    assert "not even kept" in rows[1]["error"]
    assert rows[1]["fields"] == {}


async def test_what_another_consumer_placed_meanwhile_is_not_put_aside(
    pool: Pool, redis: Redis
) -> None:
    shop = await Shop.open(pool, redis, 10, allotted=0)
    await shop.add_entry(1)
    stream = IntentStream(redis, 0, "same", entries_max=10)
    await stream.create_group()
    entries = await stream.read_new()

    class Slow(Placing):
        async def _put_aside(self, aside: Any) -> int:
            await pool.execute("UPDATE sale_items SET allotted = 10")
            assert await Placing(pool, 0).place(entries) == Placed(1, 0)
            return await super()._put_aside(aside)

    assert await Slow(pool, 0).place(entries) == Placed(0, 0)
    assert (await shop.count("orders"), await shop.count("dead_letters")) == (1, 0)


async def test_nobody_places_while_somebody_puts_aside(shop: Shop) -> None:
    await shop.add_entry(1)
    async with shop.pool.acquire() as other, other.transaction():
        await other.execute(SQL["lock_to_put_aside"], 0)
        placing = asyncio.create_task(place(shop))
        await _waits_for_the_lock(shop)
        row = await other.fetchrow("SELECT * FROM orders")
        assert row is None
    assert await placing == Placed(1, 0)


async def _waits_for_the_lock(shop: Shop) -> None:
    async with asyncio.timeout(5):
        while not await shop.pool.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
        ):
            await asyncio.sleep(0.01)


async def test_a_bad_entry_says_what_it_holds_as_far_as_it_can_be_read(shop: Shop) -> None:
    (bad,) = await shop.add_entry(1, quantity=7, unit_price_amount=10**15, sku=b"\xff")
    assert await place(shop) == Placed(0, 1)
    kept = await letter(shop)
    assert kept["order_id"].bytes == bad["order_id"]
    assert (kept["sale_id"], kept["sku"], kept["quantity"]) == (shop.sale_id, None, 7)
    assert kept["buyer_id"].bytes == bad["buyer_id"]


async def test_reconciliation_counts_the_units_of_a_bad_entry(shop: Shop) -> None:
    await shop.buy(3)
    ((_, fields),) = await shop.redis.xrange(intents(0))
    raw = unpack_intent(fields[INTENT_FIELD])
    await shop.redis.delete(intents(0))
    spoilt = pack_intent(**raw._replace(unit_price_amount=10**15)._asdict())
    await shop.redis.xadd(intents(0), {INTENT_FIELD: spoilt})
    assert await place(shop) == Placed(0, 1)
    await shop.pool.execute("UPDATE sales SET synced_revision = 1")
    reader = Reader(shop.pool, shop.redis, SaleFront(shop.redis, 1), 1)
    (found,) = (await reader.read(None)).values()
    assert (found.dead_letters, found.drift) == (3, 0)
