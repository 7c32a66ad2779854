"""What buyers, operators, the warehouse and time do to an order."""

from __future__ import annotations

import asyncio

import pytest

from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.errors import (
    InvalidInput,
    InvalidState,
    NotFound,
    PreconditionFailed,
    StoreUnavailable,
)
from flashorder.kernel.events import Topic
from flashorder.kernel.identifiers import new_id
from flashorder.orders.jobs import jobs
from flashorder.orders.model import PAYMENT_EXPIRED
from flashorder.orders.units import OrderUnits
from flashorder.reservations.holds import StoreHolds
from tests.consumer.shop import Bought, Shop, settings
from tests.orders.desk import Desk


@pytest.fixture
async def bought(desk: Desk) -> Bought:
    return await desk.shop.place()


async def paid_and_released(desk: Desk, bought: Bought) -> None:
    await desk.pay(bought)
    await desk.service.release_to_warehouse(bought.order_id, new_id())


async def test_the_whole_way_to_the_doorstep(desk: Desk, bought: Bought) -> None:
    await paid_and_released(desk, bought)
    shipment_id = await desk.ship(bought)
    await desk.relay()
    assert await desk.status(bought) == "shipped"
    await desk.deliver(bought, shipment_id)
    await desk.relay()
    assert await desk.service.complete_delivered(3600, 10) == 0
    assert await desk.service.complete_delivered(0, 10) == 1
    assert await desk.status(bought) == "completed"
    await desk.redeliver()
    assert await desk.timeline(bought) == [
        "placed", "paid", "awaiting_shipment", "shipped", "delivered", "completed",
    ]  # fmt: skip
    assert await desk.shop.violations() == []
    topics = {row[0] for row in await desk.pool.fetch("SELECT topic FROM outbox")}
    assert topics >= {
        Topic.ORDER_PLACED,
        Topic.ORDER_PAID,
        Topic.ORDER_AWAITING_SHIPMENT,
        Topic.ORDER_SHIPPED,
        Topic.ORDER_COMPLETED,
    }


async def test_the_buyer_confirms_the_receipt(desk: Desk, bought: Bought) -> None:
    with pytest.raises(InvalidState):
        await desk.service.confirm_receipt(bought.order_id, bought.buyer_id)
    await paid_and_released(desk, bought)
    await desk.ship(bought)
    await desk.relay()
    with pytest.raises(NotFound):
        await desk.service.confirm_receipt(bought.order_id, new_id())
    await desk.service.confirm_receipt(bought.order_id, bought.buyer_id)
    await desk.service.confirm_receipt(bought.order_id, bought.buyer_id)  # said again
    assert (await desk.timeline(bought)).count("completed") == 1


async def test_expiry_gives_the_unit_back_and_it_is_sold_again(desk: Desk, bought: Bought) -> None:
    assert await desk.service.expire_due(10) == 0, "not before its time"
    assert await desk.shop.remaining() == 9
    assert await desk.expire(bought) == 1
    order = await desk.order(bought)
    assert (order["status"], order["cancel_reason"]) == ("cancelled", PAYMENT_EXPIRED)
    assert await desk.shop.committed() == 0
    assert await desk.shop.remaining() == 9, "the front gives it back only after the commit"
    await desk.relay()
    await desk.redeliver()
    assert await desk.shop.remaining() == 10
    assert (await desk.order(bought))["released_at"] is not None
    again = await desk.shop.place(1, bought.buyer_id)
    assert await desk.status(again) == "pending_payment"
    assert await desk.shop.violations() == []


async def test_expiry_takes_many_at_once_and_announces_each(desk: Desk) -> None:
    bought = [await desk.shop.place(2) for _ in range(4)]
    await desk.pool.execute("UPDATE orders SET payment_due_at = now()")
    counts = await asyncio.gather(*(desk.service.expire_due(3) for _ in range(3)))
    assert sum(counts) == 4
    assert await desk.shop.committed() == 0
    rows = await desk.pool.fetch("SELECT * FROM outbox WHERE topic = 'order.cancelled'")
    assert {row["key"] for row in rows} == {each.order_id for each in bought}
    payload = rows[0]["payload"]
    assert payload["reason"] == PAYMENT_EXPIRED
    assert payload["hold"] == 1
    assert payload["lines"] == [{"sku": "85123A", "quantity": 2}]
    assert payload["sale_id"] == str(desk.shop.sale_id)
    await desk.relay()
    assert await desk.shop.remaining() == 10


async def test_a_buyer_cancels_before_paying(desk: Desk, bought: Bought) -> None:
    with pytest.raises(NotFound):
        await desk.service.cancel_own(bought.order_id, new_id(), "changed_mind")
    with pytest.raises(InvalidInput):
        await desk.service.cancel_own(bought.order_id, bought.buyer_id, PAYMENT_EXPIRED)
    await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
    with pytest.raises(InvalidState):
        await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
    await desk.relay()
    assert await desk.shop.remaining() == 10
    assert await desk.refunds_due() == []
    assert (await desk.order(bought))["cancel_reason"] == "changed_mind"
    assert await desk.shop.violations() == []


@pytest.mark.parametrize("released", [False, True])
async def test_cancelling_a_paid_order_gives_the_money_back(
    desk: Desk, bought: Bought, released: bool
) -> None:
    payment_id = await desk.pay(bought)
    if released:
        await desk.service.release_to_warehouse(bought.order_id, new_id())
    await desk.service.cancel(bought.order_id, new_id(), "out_of_stock")
    await desk.redeliver()
    assert await desk.refunds_due() == [(str(payment_id), "order_cancelled")]
    assert await desk.shop.remaining() == 10
    assert await desk.shop.violations() == []


async def test_a_parcel_that_has_left_cannot_be_cancelled(desk: Desk, bought: Bought) -> None:
    await paid_and_released(desk, bought)
    await desk.ship(bought)  # the order has not heard of it yet
    for _ in range(2):
        with pytest.raises(InvalidState):
            await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
        await desk.relay()
    assert await desk.status(bought) == "shipped"


async def test_a_parcel_for_an_order_that_does_not_await_one_is_noted(
    desk: Desk, bought: Bought
) -> None:
    await desk.ship(bought)
    await desk.relay()
    await desk.redeliver()
    assert await desk.timeline(bought) == ["placed", "shipped_out_of_turn"]
    assert await desk.status(bought) == "pending_payment"


async def test_release_to_the_warehouse(desk: Desk, bought: Bought) -> None:
    with pytest.raises(InvalidState):
        await desk.service.release_to_warehouse(bought.order_id, new_id())
    with pytest.raises(NotFound):
        await desk.service.release_to_warehouse(new_id(), new_id())
    await paid_and_released(desk, bought)
    await desk.service.release_to_warehouse(bought.order_id, new_id())
    assert (await desk.timeline(bought)).count("awaiting_shipment") == 1


async def test_the_autopilot_releases_paid_orders(desk: Desk, bought: Bought) -> None:
    other = await desk.shop.place()
    await desk.pay(bought)
    names = {job.name for job in jobs(desk.service, desk.units, settings())}
    assert "orders.autopilot" not in names
    (job,) = [
        job
        for job in jobs(desk.service, desk.units, settings(autopilot=True))
        if job.name == "orders.autopilot"
    ]
    assert await job.run() == 1
    assert await job.run() == 0
    assert await desk.status(bought) == "awaiting_shipment"
    assert await desk.status(other) == "pending_payment"


async def test_the_address_may_change_until_the_parcel_leaves(desk: Desk, bought: Bought) -> None:
    address_id = await an_address(desk.shop, bought)
    with pytest.raises(NotFound) as raised:
        await desk.service.change_address(bought.order_id, bought.buyer_id, new_id())
    assert raised.value.code == "address_not_found"
    with pytest.raises(PreconditionFailed):
        await desk.service.change_address(bought.order_id, bought.buyer_id, address_id, 7)
    await desk.service.change_address(bought.order_id, bought.buyer_id, address_id, 1)
    order = await desk.order(bought)
    assert order["ship_to"]["line1"] == "Street 1"
    assert order["version"] == 2
    with pytest.raises(NotFound) as raised:
        await desk.service.change_address(bought.order_id, new_id(), address_id)
    assert raised.value.code == "order_not_found"
    await paid_and_released(desk, bought)
    await desk.ship(bought)
    with pytest.raises(InvalidState):
        await desk.service.change_address(bought.order_id, bought.buyer_id, address_id)
    assert await desk.shop.violations() == []


@pytest.mark.parametrize("status", ["packed", "shipped"])
async def test_the_address_stays_once_a_label_is_asked_for(
    desk: Desk, bought: Bought, status: str
) -> None:
    address_id = await an_address(desk.shop, bought)
    await paid_and_released(desk, bought)
    before = await desk.order(bought)
    await desk.ship(bought)  # the order has not heard of it yet
    if status == "packed":
        await desk.pool.execute("UPDATE shipments SET status = 'packed', shipped_at = NULL")
    with pytest.raises(InvalidState):
        await desk.service.change_address(bought.order_id, bought.buyer_id, address_id)
    assert await desk.order(bought) == before


@pytest.mark.parametrize(
    "over",
    [
        "carrier = NULL",  # it refused
        "status = 'cancelled', cancelled_at = now(), cancel_reason = 'lost'",
    ],
)
async def test_the_address_may_change_when_no_label_stands(
    desk: Desk, bought: Bought, over: str
) -> None:
    address_id = await an_address(desk.shop, bought)
    await paid_and_released(desk, bought)
    await desk.ship(bought)
    await desk.pool.execute("UPDATE shipments SET status = 'packed', shipped_at = NULL")
    await desk.pool.execute(f"UPDATE shipments SET {over}")
    await desk.service.change_address(bought.order_id, bought.buyer_id, address_id)
    assert (await desk.order(bought))["ship_to"]["line1"] == "Street 1"


async def an_address(shop: Shop, bought: Bought):  # type: ignore[no-untyped-def]
    address_id = new_id()
    await shop.pool.execute(
        "INSERT INTO accounts (account_id, email, role, name) VALUES ($1, 'a@b.c', 'shopper', 'A')",
        bought.buyer_id,
    )
    await shop.pool.execute(
        "INSERT INTO addresses (address_id, account_id, recipient, line1, city, postal_code,"
        " country) VALUES ($1, $2, 'A', 'Street 1', 'Town', '1', 'GB')",
        address_id,
        bought.buyer_id,
    )
    return address_id


async def test_notes_stand_in_the_timeline(desk: Desk, bought: Bought) -> None:
    assert await desk.service.add_note(bought.order_id, "operator:x", "called twice") == 2
    with pytest.raises(NotFound):
        await desk.service.add_note(new_id(), "operator:x", "who?")
    assert await desk.shop.violations() == []


async def test_units_that_no_event_gave_back_are_given_back_by_the_net(
    desk: Desk, bought: Bought
) -> None:
    await desk.expire(bought)
    await desk.pool.execute("DELETE FROM outbox")
    assert await desk.units.release_forgotten(60, 10) == 0
    assert await desk.units.release_forgotten(0, 10) == 1
    assert await desk.units.release_forgotten(0, 10) == 0
    assert await desk.shop.remaining() == 10


async def test_an_order_that_cannot_be_released_keeps_none_of_the_others(
    desk: Desk, bought: Bought
) -> None:
    fine = await desk.shop.place()
    await desk.expire(bought)
    await desk.expire(fine)
    await desk.pool.execute("DELETE FROM outbox")
    await desk.pool.execute(
        "UPDATE orders SET hold = 32767, cancelled_at = cancelled_at - interval '1 h'"
        " WHERE order_id = $1",
        bought.order_id,
    )
    assert await desk.units.release_forgotten(0, 10) == 1
    assert (await desk.order(fine))["released_at"] is not None
    assert (await desk.order(bought))["released_at"] is None
    assert await desk.shop.remaining() == 9


async def test_a_store_that_is_away_ends_the_round(desk: Desk, bought: Bought) -> None:
    await desk.expire(bought)
    async with connect_redis("redis://127.0.0.1:9") as nowhere:
        with pytest.raises(StoreUnavailable):
            await OrderUnits(desk.pool, StoreHolds(nowhere, 1)).release_forgotten(0, 10)
    assert (await desk.order(bought))["released_at"] is None


async def test_a_release_for_an_order_without_a_sale_is_nothing(desk: Desk, bought: Bought) -> None:
    await desk.pool.execute("UPDATE orders SET sale_id = NULL")
    await desk.expire(bought)
    await desk.relay()
    assert await desk.shop.remaining() == 9
