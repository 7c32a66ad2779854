"""What operators do with sales, on both stores."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flashorder.infra.redis.keys import sale_keys
from flashorder.kernel.clock import utc_now
from flashorder.kernel.errors import Conflict, InvalidInput, InvalidState, NotFound
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.sales.invariants import INVARIANTS
from flashorder.sales.model import DraftItem, SaleStatus
from flashorder.sales.service import SalesService
from tests.sales.conftest import COUNTED_UNITS, House

POUND = Money(100, "GBP")


async def test_a_draft_takes_its_units_from_stock_and_is_no_business_of_the_front(
    house: House,
) -> None:
    sale = await house.created()
    assert sale.status is SaleStatus.DRAFT
    assert sale.currency == "GBP"
    assert sale.payment_window_seconds == house.settings.payment_window_seconds
    assert [(item.sku, item.allotted) for item in sale.items] == [("BOTTLE", 5), ("LANTERN", 10)]
    assert await house.available("LANTERN") == COUNTED_UNITS - 10
    assert await house.service.convergence.push_unsynced() == 0
    assert await house.front.read(sale.sale_id) is None


async def test_an_opened_sale_is_at_the_front_with_its_stock(house: House) -> None:
    sale = await house.opened()
    assert sale.synced
    there = await house.front.read(sale.sale_id)
    assert there is not None
    assert there.status is SaleStatus.OPEN
    assert {item.sku: item.remaining for item in there.items} == {"BOTTLE": 5, "LANTERN": 10}
    lantern = next(item for item in there.items if item.sku == "LANTERN")
    assert (lantern.unit_price_amount, lantern.list_price_amount) == (199, 339)
    assert (lantern.name, lantern.per_buyer_limit) == ("White lantern", 2)


async def test_more_than_was_counted_is_refused_and_nothing_stays(house: House) -> None:
    items = (
        DraftItem("BOTTLE", 5, POUND, 1),
        DraftItem("LANTERN", COUNTED_UNITS + 1, POUND, 1),
    )
    with pytest.raises(Conflict) as raised:
        await house.created(items=items)
    assert raised.value.code == "insufficient_stock"
    assert await house.available("BOTTLE") == COUNTED_UNITS
    assert await house.pool.fetchval("SELECT count(*) FROM sales") == 0


async def test_the_last_units_go_to_one_of_two_drafts(house: House) -> None:
    items = (DraftItem("LANTERN", COUNTED_UNITS, POUND, 1),)
    results = await asyncio.gather(
        *(house.created(items=items) for _ in range(4)), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, BaseException)]
    assert len(refused) == 3
    assert all(isinstance(each, Conflict) for each in refused)
    assert await house.available("LANTERN") == 0


async def test_an_uncounted_product_is_as_many_as_the_sale_promises(house: House) -> None:
    await house.pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency) "
        "VALUES ('NEW', 'New', 100, 'GBP')"
    )
    items = (DraftItem("NEW", 1000, POUND, 1),)
    await house.created(items=items)
    assert await house.available("NEW") == 0
    await house.created(items=items)
    await house.pool.execute(
        "INSERT INTO stock_movements (movement_id, sku, kind, quantity, cause, actor) "
        "VALUES (gen_random_uuid(), 'NEW', 'received', 1, 'delivery', 'test')"
    )
    with pytest.raises(Conflict):
        await house.created(items=items)


async def test_products_that_are_not_for_sale_are_named_by_field(house: House) -> None:
    items = (
        DraftItem("LANTERN", 1, Money(100, "EUR"), 1),
        DraftItem("GONE", 1, Money(100, "EUR"), 1),
    )
    with pytest.raises(InvalidInput) as raised:
        await house.created(items=items)
    assert {field.pointer: field.code for field in raised.value.fields} == {
        "/items/0/unit_price/currency": "currency_mismatch",
        "/items/1/sku": "sku_not_found",
    }


async def test_a_sale_that_is_over_before_it_begins_is_refused(house: House) -> None:
    past = utc_now() - timedelta(hours=1)
    with pytest.raises(InvalidInput) as raised:
        await house.created(starts_at=past - timedelta(hours=1), ends_at=past)
    assert raised.value.fields[0].pointer == "/ends_at"


async def test_an_inactive_product_is_not_sold(house: House) -> None:
    await house.pool.execute("UPDATE products SET active = false WHERE sku = 'LANTERN'")
    with pytest.raises(InvalidInput):
        await house.created()


async def test_pause_resume_close_reach_the_front_and_may_be_said_twice(house: House) -> None:
    sale = await house.opened()
    steps = [
        (house.service.pause, SaleStatus.PAUSED),
        (house.service.resume, SaleStatus.OPEN),
        (house.service.close, SaleStatus.CLOSED),
    ]
    for step, status in steps:
        once = await step(sale.sale_id)
        again = await step(sale.sale_id)
        assert once.status is again.status is status
        assert once.revision == again.revision
        there = await house.front.read(sale.sale_id)
        assert there is not None
        assert (there.status, there.revision) == (status, once.revision)


async def test_a_sale_past_its_end_cannot_be_opened(house: House) -> None:
    sale = await house.created()
    await house.pool.execute(
        "UPDATE sales SET ends_at = now() - interval '1 second', "
        "starts_at = now() - interval '1 hour'"
    )
    with pytest.raises(InvalidState):
        await house.service.open(sale.sale_id)


async def test_an_unknown_sale_is_not_found(house: House) -> None:
    for call in (house.service.open, house.service.get, house.service.close):
        with pytest.raises(NotFound) as raised:
            await call(new_id())
        assert raised.value.code == "sale_not_found"


async def test_a_top_up_counts_once(house: House) -> None:
    sale = await house.opened()
    top_up_id = new_id()
    for _ in range(2):
        topped = await house.service.top_up(
            sale.sale_id, "LANTERN", 7, top_up_id=top_up_id, actor="test"
        )
        assert {item.sku: item.allotted for item in topped.items}["LANTERN"] == 17
    there = await house.front.read(sale.sale_id)
    assert there is not None
    assert {item.sku: item.remaining for item in there.items} == {"BOTTLE": 5, "LANTERN": 17}
    assert await house.available("LANTERN") == COUNTED_UNITS - 17


async def test_a_top_up_that_cannot_be_leaves_nothing(house: House) -> None:
    sale = await house.opened()

    async def top_up(sku: str, quantity: int) -> None:
        await house.service.top_up(sale.sale_id, sku, quantity, top_up_id=new_id(), actor="test")

    with pytest.raises(Conflict, match="LANTERN"):
        await top_up("LANTERN", COUNTED_UNITS)
    with pytest.raises(NotFound) as raised:
        await top_up("CUP", 1)
    assert raised.value.code == "sku_not_in_sale"
    with pytest.raises(InvalidInput):
        await top_up("LANTERN", 0)
    await house.service.close(sale.sale_id)
    with pytest.raises(InvalidState):
        await top_up("LANTERN", 1)
    assert await house.pool.fetchval("SELECT count(*) FROM sale_top_ups") == 0


async def test_settling_returns_what_was_not_sold_and_forgets_the_front(house: House) -> None:
    sale = await house.opened()
    await house.service.close(sale.sale_id)
    for _ in range(2):
        settled = await house.service.settle(sale.sale_id, actor="test")
        assert settled.status is SaleStatus.SETTLED
        assert settled.synced
    assert await house.available("LANTERN") == COUNTED_UNITS
    assert await house.front.read(sale.sale_id) is None
    assert [item.allotted for item in settled.items] == [0, 0]


async def test_only_a_closed_sale_is_settled(house: House) -> None:
    sale = await house.opened()
    with pytest.raises(InvalidState):
        await house.service.settle(sale.sale_id, actor="test")


async def test_a_sale_with_units_on_their_way_is_not_settled(house: House) -> None:
    sale = await house.opened()
    await house.service.close(sale.sale_id)
    await house.order(sale, "LANTERN", 1, "paid")  # PostgreSQL has one more than the front
    with pytest.raises(Conflict) as raised:
        await house.service.settle(sale.sale_id, actor="test")
    assert raised.value.code == "sale_not_drained"
    assert (await house.service.get(sale.sale_id)).status is SaleStatus.CLOSED


async def test_a_sale_with_a_purchase_in_the_stream_is_not_settled(house: House) -> None:
    sale = await house.opened()
    await house.service.close(sale.sale_id)
    taken = sale_keys(1, sale.sale_id)
    await house.front._redis.hincrby(taken.sold, "LANTERN", 1)  # as reserve.lua does
    with pytest.raises(Conflict) as raised:
        await house.service.settle(sale.sale_id, actor="test")
    assert raised.value.code == "sale_not_drained"
    await house.order(sale, "LANTERN", 1, "paid")
    settled = await house.service.settle(sale.sale_id, actor="test")
    assert {item.sku: item.allotted for item in settled.items} == {"BOTTLE": 0, "LANTERN": 1}
    assert await house.available("LANTERN") == COUNTED_UNITS - 1


async def test_a_sale_that_somebody_may_still_pay_is_not_settled(house: House) -> None:
    sale = await house.opened()
    await house.service.close(sale.sale_id)
    await house.order(sale, "LANTERN", 1, "pending_payment")
    await house.front.remove(sale.sale_id)
    with pytest.raises(Conflict) as raised:
        await house.service.settle(sale.sale_id, actor="test")
    assert raised.value.code == "sale_not_drained"


async def test_a_sale_that_the_front_lost_is_settled_by_what_postgresql_has(house: House) -> None:
    sale = await house.opened()
    await house.order(sale, "LANTERN", 3, "paid")
    await house.service._promise_top_up(
        sale.sale_id, "BOTTLE", 2, top_up_id=new_id(), actor="test", requested_by=None
    )
    await house.front.remove(sale.sale_id)
    assert not (await house.service.close(sale.sale_id)).synced
    settled = await house.service.settle(sale.sale_id, actor="test")
    assert (settled.status, settled.synced) == (SaleStatus.SETTLED, True)
    assert {item.sku: item.allotted for item in settled.items} == {"BOTTLE": 0, "LANTERN": 3}
    assert await house.available("BOTTLE") == COUNTED_UNITS
    for invariant in INVARIANTS:
        if invariant.name == "sale_top_ups_applied_when_settled":
            assert await house.pool.fetch(invariant.sql) == []


@pytest.mark.parametrize("lost", [False, True])
async def test_a_dead_letter_keeps_a_sale_from_being_settled(house: House, lost: bool) -> None:
    sale = await house.opened()
    if lost:
        await house.front.remove(sale.sale_id)
    await house.service.close(sale.sale_id)
    await house.pool.execute(
        "INSERT INTO dead_letters (dead_letter_id, shard, intent_ms, intent_seq, sale_id, fields, "
        "error) VALUES ($1, 0, 1, 1, $2, '{}', 'x')",
        new_id(),
        sale.sale_id,
    )
    with pytest.raises(Conflict) as raised:
        await house.service.settle(sale.sale_id, actor="test")
    assert raised.value.code == "sale_not_drained"


async def test_closed_sales_are_settled_after_a_while_by_themselves(house: House) -> None:
    due, undrained, unpaid, fresh, live = [
        await house.opened(items=(DraftItem("LANTERN", 5, POUND, 1),)) for _ in range(5)
    ]
    for sale in (due, undrained, unpaid, fresh):
        await house.service.close(sale.sale_id)
    await house.order(undrained, "LANTERN", 1, "paid")  # the front has not sold it yet
    await house.order(unpaid, "LANTERN", 1, "pending_payment")
    await house.pool.execute(
        "UPDATE sales SET updated_at = now() - interval '1 day' WHERE sale_id <> $1", fresh.sale_id
    )
    never = SalesService(
        house.pool,
        house.front,
        house.stock,
        house.settings.model_copy(update={"sale_settle_delay_seconds": 0.0}),
    )
    assert await never.settling.settle_closed() == 0
    assert await house.service.settling.settle_closed() == 1
    assert await house.service.settling.settle_closed() == 0
    settled = await house.service.page(status=SaleStatus.SETTLED)
    assert [sale.sale_id for sale in settled] == [due.sale_id]
    assert await house.front.read(due.sale_id) is None
    assert (await house.service.get(live.sale_id)).status is SaleStatus.OPEN


async def test_units_of_an_order_cancelled_after_the_settling_go_to_stock(house: House) -> None:
    sale = await house.opened()
    await house.service.close(sale.sale_id)
    await house.order(sale, "LANTERN", 3, "paid")
    await house.front.remove(sale.sale_id)
    await house.service.settle(sale.sale_id, actor="test")
    assert await house.available("LANTERN") == COUNTED_UNITS - 3
    await house.pool.execute("UPDATE sale_items SET committed = 1 WHERE sku = 'LANTERN'")
    assert await house.service.settling.return_late_units() == 1
    assert await house.service.settling.return_late_units() == 0
    assert await house.available("LANTERN") == COUNTED_UNITS - 1


async def test_sales_are_listed_newest_first_in_pages(house: House) -> None:
    made = [await house.created(items=(DraftItem("LANTERN", 1, POUND, 1),)) for _ in range(3)]
    await house.service.open(made[1].sale_id)
    first = await house.service.page(limit=2)
    assert [sale.sale_id for sale in first] == [made[2].sale_id, made[1].sale_id]
    rest = await house.service.page(before=first[-1].sale_id, limit=2)
    assert [sale.sale_id for sale in rest] == [made[0].sale_id]
    live = await house.service.page(status=SaleStatus.OPEN)
    assert [sale.sale_id for sale in live] == [made[1].sale_id]
