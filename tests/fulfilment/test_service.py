"""The warehouse's steps, against real rows."""

from __future__ import annotations

import asyncio

import pytest

from flashorder.fulfilment.model import SHIPMENT, ShipmentStatus
from flashorder.kernel.errors import InvalidState, NotFound
from flashorder.kernel.events import Event, Topic
from flashorder.kernel.identifiers import new_id
from tests.fulfilment.conftest import ADDRESS, House


async def test_an_order_gets_one_shipment_however_often_it_is_told(house: House) -> None:
    order_id = await house.order()
    event = Event(Topic.ORDER_AWAITING_SHIPMENT, order_id)
    await asyncio.gather(*(house.service.order_awaits_shipment(event) for _ in range(5)))
    rows = await house.pool.fetch("SELECT * FROM shipments")
    assert [(row["order_id"], row["status"]) for row in rows] == [(order_id, "pending")]
    detail = await house.service.detail(rows[0]["shipment_id"])
    assert [(line.sku, line.name, line.quantity) for line in detail.lines] == [
        ("LANTERN", "White lantern", 2),
        ("BOTTLE", "Hot water bottle", 1),
    ]
    assert [(each.version, each.type) for each in detail.events] == [(1, "pending")]
    assert detail.ship_to == ADDRESS
    await house.check_invariants()


async def test_an_order_that_awaits_nothing_gets_no_shipment(house: House) -> None:
    for status in ("pending_payment", "paid"):
        order_id = await house.order(status)
        await house.service.order_awaits_shipment(Event(Topic.ORDER_AWAITING_SHIPMENT, order_id))
    assert await house.pool.fetchval("SELECT count(*) FROM shipments") == 0


async def test_picking_and_packing_leave_their_times_and_events(house: House) -> None:
    shipment_id = await house.shipment()
    picked = await house.service.pick(shipment_id, "warehouse:1")
    packed = await house.service.pack(shipment_id, "warehouse:1")
    assert (picked.status, packed.status, packed.version) == ("picking", "packed", 3)
    assert packed.picking_at is not None
    assert packed.packed_at is not None
    assert await house.service.pack(shipment_id, "warehouse:2") == packed  # said again: no change
    detail = await house.service.detail(shipment_id)
    assert [(each.type, each.actor) for each in detail.events] == [
        ("pending", "order"),
        ("picking", "warehouse:1"),
        ("packed", "warehouse:1"),
    ]
    await house.check_invariants()


async def test_steps_out_of_turn_are_refused(house: House) -> None:
    for source, step in (("pending", house.service.pack), ("packed", house.service.pick)):
        shipment_id = await house.shipment(source)
        before = await house.row(shipment_id)
        with pytest.raises(InvalidState):
            await step(shipment_id, "test")
        assert await house.row(shipment_id) == before


async def test_what_is_not_there_is_not_found(house: House) -> None:
    for call in (house.service.detail, house.service.label_document):
        with pytest.raises(NotFound) as refusal:
            await call(new_id())
        assert refusal.value.code == "shipment_not_found"
    with pytest.raises(NotFound):
        await house.service.pick(new_id(), "test")
    with pytest.raises(NotFound) as refusal:
        await house.service.label_document(await house.shipment())
    assert refusal.value.code == "label_not_found"


async def test_a_cancelled_order_cancels_what_has_not_shipped(house: House) -> None:
    for status in ("pending", "picking", "packed"):
        shipment_id = await house.shipment(status)
        order_id = (await house.row(shipment_id))["order_id"]
        await house.cancel_order(order_id)
        await house.cancelled(order_id)
        row = await house.row(shipment_id)
        assert (row["status"], row["cancel_reason"]) == ("cancelled", "changed_mind")
        assert row["label_cancel_due_at"] is None, "no carrier was asked, so there is no label"
        await house.cancelled(order_id)
        assert (await house.row(shipment_id))["version"] == row["version"]
    await house.check_invariants()


async def test_old_news_of_a_cancellation_does_not_end_a_live_shipment(house: House) -> None:
    shipment_id = await house.shipment()
    await house.cancelled((await house.row(shipment_id))["order_id"])
    assert (await house.row(shipment_id))["status"] == "pending"


async def test_the_schema_refuses_a_second_live_shipment(house: House) -> None:
    import asyncpg

    order_id = (await house.row(await house.shipment()))["order_id"]
    with pytest.raises(asyncpg.UniqueViolationError):
        await house.pool.execute(
            "INSERT INTO shipments (shipment_id, order_id) VALUES ($1, $2)", new_id(), order_id
        )


async def test_the_autopilot_picks_and_packs_in_bounded_batches(house: House) -> None:
    for _ in range(3):
        await house.shipment()
    for target in (ShipmentStatus.PICKING, ShipmentStatus.PACKED):
        assert SHIPMENT.sources(target)
        assert await house.service.advance_waiting(target, 0.0, 2) == 2
        assert await house.service.advance_waiting(target, 0.0, 2) == 1
        assert await house.service.advance_waiting(target, 0.0, 2) == 0
    rows = await house.pool.fetch("SELECT status, version FROM shipments")
    assert [tuple(row) for row in rows] == [("packed", 3)] * 3
    await house.check_invariants()


async def test_the_autopilot_lets_shipments_rest(house: House) -> None:
    await house.shipment()
    assert await house.service.advance_waiting(ShipmentStatus.PICKING, 60.0, 10) == 0
