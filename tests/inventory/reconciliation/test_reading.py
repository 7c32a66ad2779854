"""Whatever state an order is in, its units are found exactly once."""

from __future__ import annotations

import asyncio
import random
import uuid

import pytest

from flashorder.infra.redis import keys
from flashorder.inventory.reconciliation.model import ItemReading
from tests.inventory.reconciliation.desk import SKU, Desk


async def reading(desk: Desk) -> ItemReading:
    readings = await desk.reader.read(None)
    return readings[desk.sale_id, SKU]


async def test_an_untouched_sale_balances(desk: Desk) -> None:
    found = await reading(desk)
    assert (found.available, found.held, found.allotted, found.drift) == (100, 0, 100, 0)


async def test_units_in_the_stream_are_counted_until_they_are_orders(desk: Desk) -> None:
    await desk.buy(2)
    await desk.buy(3)
    assert (await reading(desk)).in_stream == 5
    first = await desk.take()
    assert (await reading(desk)).in_stream == 5, "delivered is not applied"
    await desk.apply(first, acknowledge=False)
    found = await reading(desk)
    assert (found.in_stream, found.applied, found.drift) == (3, 2, 0), "applied, not acknowledged"
    await desk.acknowledge(first)
    found = await reading(desk)
    assert (found.in_stream, found.applied, found.drift) == (3, 2, 0)


async def test_a_trimmed_stream_still_balances(desk: Desk) -> None:
    for _ in range(3):
        await desk.buy()
    await desk.apply(await desk.take(3))
    await desk.redis.xtrim(keys.intents(0), maxlen=0, approximate=False)
    found = await reading(desk)
    assert (found.applied, found.in_stream, found.drift) == (3, 0, 0)


async def test_a_cancelled_order_is_held_until_it_is_released(desk: Desk) -> None:
    await desk.buy(2)
    (order,) = await desk.apply(await desk.take())
    await desk.cancel(order)
    found = await reading(desk)
    assert (found.applied, found.unreleased, found.drift) == (0, 2, 0)
    await desk.release_at_front(order)
    assert (await reading(desk)).drift == 0, "released at the front, not noted here yet"
    await desk.mark_released(order)
    found = await reading(desk)
    assert (found.available, found.unreleased, found.drift) == (100, 0, 0)


async def test_a_dead_letter_holds_its_units(desk: Desk) -> None:
    await desk.buy(2)
    await desk.bury(await desk.take())
    found = await reading(desk)
    assert (found.dead_letters, found.in_stream, found.drift) == (2, 0, 0)


async def test_a_dead_letter_whose_order_stands_after_all_holds_nothing(desk: Desk) -> None:
    await desk.buy(2)
    taken = await desk.take()
    await desk.apply(taken)
    await desk.bury(taken)
    found = await reading(desk)
    assert (found.applied, found.dead_letters, found.drift) == (2, 0, 0)


@pytest.mark.parametrize("quantity", [7, -7])
async def test_a_top_up_on_its_way_is_no_drift(desk: Desk, quantity: int) -> None:
    top_up = uuid.uuid4()
    await desk.pool.execute(
        "INSERT INTO sale_top_ups (top_up_id, sale_id, sku, quantity, cause) "
        "VALUES ($1, $2, $3, $4, 'test')",
        top_up, desk.sale_id, SKU, quantity,
    )  # fmt: skip
    await desk.pool.execute("UPDATE sale_items SET allotted = allotted + $1", quantity)
    assert (await reading(desk)).drift == 0, "promised"
    await desk.front.top_up(desk.sale_id, 1, top_up, SKU, quantity)
    assert (await reading(desk)).drift == 0, "at the front, not noted here yet"
    await desk.pool.execute("UPDATE sale_top_ups SET applied_at = now()")
    found = await reading(desk)
    assert (found.allotted, found.available, found.drift) == (100 + quantity, 100 + quantity, 0)


@pytest.mark.parametrize("lost", [4, -4])
async def test_damage_at_the_front_is_a_drift(desk: Desk, lost: int) -> None:
    await desk.buy()
    await desk.lose(lost)
    assert (await reading(desk)).drift == -lost


async def test_an_order_that_the_store_forgot_counts_as_held(desk: Desk) -> None:
    await desk.buy()
    await desk.apply(await desk.take())
    await desk.redis.delete(keys.intents(0))  # its last id is 0-0 now, below the order's
    found = await reading(desk)
    assert (found.applied, found.drift) == (1, 0)


async def test_a_busy_sale_never_shows_a_drift(desk: Desk) -> None:
    stopping = asyncio.Event()

    async def shoppers() -> None:
        while not stopping.is_set() and await desk.available() > 10:
            await desk.buy(random.randint(1, 2))

    async def consumer() -> None:
        while not stopping.is_set():
            for order in await desk.apply(await desk.take(3)):
                if random.random() < 0.5:
                    await desk.cancel(order)
                    await desk.release_at_front(order)
                    await desk.mark_released(order)

    busy = [asyncio.create_task(shoppers()), asyncio.create_task(consumer())]
    try:
        for _ in range(40):
            found = await reading(desk)
            assert found.drift == 0, found
    finally:
        stopping.set()
        await asyncio.gather(*busy)
