"""Stopped in the middle, and brought in step again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flashorder.kernel.clock import utc_now
from flashorder.kernel.errors import StoreUnavailable
from flashorder.kernel.identifiers import new_id
from flashorder.sales.convergence import front_sale
from flashorder.sales.front import FrontSale, SaleFront
from flashorder.sales.model import Sale, SaleStatus
from flashorder.sales.service import SalesService
from tests.sales.conftest import House
from tests.stores import BreakableStores


async def stock_at_front(house: House, sale: Sale) -> dict[str, int]:
    there = await house.front.read(sale.sale_id)
    assert there is not None
    return {item.sku: item.remaining or 0 for item in there.items}


async def opened_in_postgresql_only(house: House) -> Sale:
    """What a crash leaves behind between the commit and the telling."""
    sale = await house.created()
    await house.pool.execute("UPDATE sales SET status = 'open', revision = revision + 1")
    return await house.service.get(sale.sale_id)


async def test_a_crash_before_the_telling_is_repaired_by_the_job(house: House) -> None:
    sale = await opened_in_postgresql_only(house)
    assert not sale.synced
    assert await house.service.convergence.push_unsynced() == 1
    assert await stock_at_front(house, sale) == {"BOTTLE": 5, "LANTERN": 10}
    assert (await house.service.get(sale.sale_id)).synced
    assert await house.service.convergence.push_unsynced() == 0


async def test_a_crash_after_the_telling_opens_nothing_twice(house: House) -> None:
    sale = await opened_in_postgresql_only(house)
    await house.front.open(front_sale(sale))
    await house.front.top_up(sale.sale_id, 1, new_id(), "LANTERN", -4)  # stands for units sold
    assert await house.service.convergence.push_unsynced() == 1
    assert await stock_at_front(house, sale) == {"BOTTLE": 5, "LANTERN": 6}


async def test_a_paused_sale_that_was_never_told_arrives_paused(house: House) -> None:
    sale = await opened_in_postgresql_only(house)
    await house.front.open(front_sale(sale))
    await house.pool.execute("UPDATE sales SET status = 'paused', revision = revision + 1")
    await house.service.convergence.push_unsynced()
    there = await house.front.read(sale.sale_id)
    assert there is not None
    assert there.status is SaleStatus.PAUSED


async def test_a_top_up_before_the_opening_is_counted_once(house: House) -> None:
    sale = await house.created()
    await house.service.top_up(sale.sale_id, "LANTERN", 7, top_up_id=new_id(), actor="test")
    await house.service.open(sale.sale_id)
    assert await stock_at_front(house, sale) == {"BOTTLE": 5, "LANTERN": 17}
    assert await house.service.convergence.push_top_ups() == 0


@pytest.mark.parametrize("told", [False, True])
async def test_a_crash_within_a_top_up_is_repaired_by_the_job(house: House, told: bool) -> None:
    sale = await house.opened()
    top_up_id = new_id()
    await house.service._promise_top_up(
        sale.sale_id, "LANTERN", 7, top_up_id=top_up_id, actor="test", requested_by=None
    )
    if told:
        await house.front.top_up(sale.sale_id, sale.generation, top_up_id, "LANTERN", 7)
    assert await house.service.convergence.push_top_ups() == 1
    assert await house.service.convergence.push_top_ups() == 0
    assert await stock_at_front(house, sale) == {"BOTTLE": 5, "LANTERN": 17}


async def test_many_workers_at_once_tell_the_front_once(house: House) -> None:
    sale = await opened_in_postgresql_only(house)
    for _ in range(5):
        await house.service._promise_top_up(
            sale.sale_id, "LANTERN", 2, top_up_id=new_id(), actor="test", requested_by=None
        )
    workers = [
        SalesService(house.pool, house.front, house.stock, house.settings).convergence
        for _ in range(4)
    ]
    await asyncio.gather(
        *(worker.push_unsynced() for worker in workers),
        *(worker.push_top_ups() for worker in workers),
    )
    await house.service.convergence.push_top_ups()
    assert await stock_at_front(house, sale) == {"BOTTLE": 5, "LANTERN": 20}


async def test_a_crash_before_the_front_forgets_a_settled_sale(house: House) -> None:
    sale = await house.opened()
    await house.service.close(sale.sale_id)
    await house.pool.execute("UPDATE sales SET status = 'settled', revision = revision + 1")
    await house.service.convergence.push_unsynced()
    assert await house.front.read(sale.sale_id) is None


async def test_a_store_that_lost_the_sale_is_not_handed_its_stock_again(house: House) -> None:
    sale = await house.opened()
    await house.front.remove(sale.sale_id)
    paused = await house.service.pause(sale.sale_id)
    assert not paused.synced
    assert await house.service.convergence.push_unsynced() == 0
    assert await house.front.read(sale.sale_id) is None


async def test_nor_when_orders_prove_that_it_was_there(house: House) -> None:
    sale = await opened_in_postgresql_only(house)
    await house.order(sale, "LANTERN", 1, "paid")
    assert await house.service.convergence.push_unsynced() == 0
    assert await house.front.read(sale.sale_id) is None


async def test_a_change_made_while_pushing_is_pushed_as_well(house: House) -> None:
    sale = await opened_in_postgresql_only(house)

    class Interrupted(SaleFront):
        """Somebody closes the sale just before the front hears that it is open."""

        async def open(self, sale: FrontSale):  # type: ignore[no-untyped-def]
            await house.pool.execute(
                "UPDATE sales SET status = 'closed', revision = revision + 1 WHERE status = 'open'"
            )
            return await super().open(sale)

    front = Interrupted(house.front._redis, house.settings.shards)
    service = SalesService(house.pool, front, house.stock, house.settings)
    await service.convergence.push(sale.sale_id)
    there = await house.front.read(sale.sale_id)
    assert there is not None
    assert there.status is SaleStatus.CLOSED


async def test_scheduled_sales_open_and_ended_ones_close_by_the_clock(house: House) -> None:
    soon = utc_now() + timedelta(seconds=2)
    later = utc_now() + timedelta(minutes=30)
    due = await house.created(starts_at=soon)
    not_yet = await house.created(starts_at=later)
    for sale in (due, not_yet):
        assert (await house.service.schedule(sale.sale_id)).status is SaleStatus.SCHEDULED
    assert await house.service.convergence.follow_the_clock() == 1
    there = await house.front.read(due.sale_id)
    assert there is not None
    assert there.status is SaleStatus.OPEN
    assert there.starts_at_ms == round(due.starts_at.timestamp() * 1000)
    assert (await house.service.get(not_yet.sale_id)).status is SaleStatus.SCHEDULED

    await house.pool.execute(
        "UPDATE sales SET starts_at = now() - interval '1 hour', "
        "ends_at = now() - interval '2 seconds' WHERE sale_id = $1",
        due.sale_id,
    )
    assert await house.service.convergence.follow_the_clock() == 1
    there = await house.front.read(due.sale_id)
    assert there is not None
    assert there.status is SaleStatus.CLOSED
    assert await house.service.convergence.follow_the_clock() == 0


async def test_with_the_store_away_the_change_stands_and_is_told_later(
    house: House, stores: BreakableStores
) -> None:
    from flashorder.infra.redis.connection import connect_redis

    sale = await house.created()
    redis = connect_redis(stores.redis_url, timeout_seconds=0.5)
    front = SaleFront(redis, house.settings.shards)
    service = SalesService(house.pool, front, house.stock, house.settings)
    await stores.store.kill()
    opened = await service.open(sale.sale_id)
    assert (opened.status, opened.synced) == (SaleStatus.OPEN, False)
    with pytest.raises(StoreUnavailable):
        await service.convergence.push_unsynced()
    await stores.store.start()
    assert await service.convergence.push_unsynced() == 1
    there = await front.read(sale.sale_id)
    assert there is not None
    assert there.status is SaleStatus.OPEN
    await redis.aclose()
