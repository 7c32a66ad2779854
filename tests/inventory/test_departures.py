"""What leaves the house is no longer on hand: once, whatever comes twice."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
import pytest_asyncio

from flashorder.infra.postgres.pool import Pool, transaction
from flashorder.inventory.departures import Departures
from flashorder.inventory.invariants import INVARIANTS
from flashorder.inventory.jobs import subscriptions
from flashorder.inventory.ledger import StockLedger
from flashorder.kernel.errors import Conflict
from flashorder.kernel.events import Event, Topic
from flashorder.kernel.identifiers import new_id

BOX = {"A-1": [2, 1], "B-2": [4]}
"""Units of each line; an SKU may stand in two."""


@pytest_asyncio.fixture(autouse=True)
async def a_sale_of_two_products(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency) "
        "VALUES ('A-1', 'Lantern', 339, 'GBP'), ('B-2', 'Bottle', 255, 'GBP')"
    )
    async with transaction(pool) as connection:
        await StockLedger().allocate(
            connection,
            {"A-1": 10, "B-2": 6},
            sale_id=new_id(),
            source=new_id(),
            cause="sale_created",
            actor="test",
        )


async def a_parcel(pool: Pool, status: str = "shipped") -> Event:
    """A parcel that has left, and what is told of it."""
    order_id, shipment_id = new_id(), new_id()
    await pool.execute(
        "INSERT INTO orders (order_id, order_number, buyer_id, currency, total_amount, accepted_at)"
        " VALUES ($1::uuid, $1::text, $2, 'GBP', 0, now())",
        order_id,
        new_id(),
    )
    await pool.execute(
        "INSERT INTO shipments (shipment_id, order_id, status, carrier, tracking_number, label_url,"
        " picking_at, packed_at, shipped_at)"
        " VALUES ($1::uuid, $2, $3, 'test', $1::text, 'url', now(), now(),"
        " CASE WHEN $3 = 'shipped' THEN now() END)",
        shipment_id,
        order_id,
        status,
    )
    lines = [(sku, quantity) for sku, quantities in BOX.items() for quantity in quantities]
    for number, (sku, quantity) in enumerate(lines, 1):
        await pool.execute(
            "INSERT INTO shipment_lines (shipment_id, line_no, sku, quantity)"
            " VALUES ($1, $2, $3, $4)",
            shipment_id,
            number,
            sku,
            quantity,
        )
    payload = {"order_id": str(order_id), "shipment_id": str(shipment_id)}
    return Event(Topic.SHIPMENT_SHIPPED, order_id, payload)


async def levels(pool: Pool) -> dict[str, tuple[int, int]]:
    rows = await pool.fetch("SELECT sku, on_hand, available FROM stock_levels")
    return {row["sku"]: (row["on_hand"], row["available"]) for row in rows}


async def violated(pool: Pool) -> dict[str, list[Any]]:
    found = {each.name: await pool.fetch(each.sql) for each in INVARIANTS}
    return {name: [dict(row) for row in rows] for name, rows in found.items() if rows}


async def test_a_parcel_takes_its_units_along_once(pool: Pool) -> None:
    handle = subscriptions(Departures(pool))[Topic.SHIPMENT_SHIPPED]
    assert await levels(pool) == {"A-1": (10, 0), "B-2": (6, 0)}
    event = await a_parcel(pool)
    await asyncio.gather(*(handle(event) for _ in range(4)))
    await handle(event)
    assert await levels(pool) == {"A-1": (7, 0), "B-2": (2, 0)}
    rows = await pool.fetch("SELECT * FROM stock_movements WHERE kind = 'shipped' ORDER BY sku")
    assert [(row["sku"], row["quantity"], row["cause"]) for row in rows] == [
        ("A-1", -3, "parcel_left"),
        ("B-2", -4, "parcel_left"),
    ]
    assert {row["reference"] for row in rows} == {event.payload["shipment_id"]}
    assert await violated(pool) == {}


async def test_what_was_not_there_waits_for_a_count(pool: Pool) -> None:
    departures = Departures(pool)
    await departures.shipment_shipped(await a_parcel(pool))
    event = await a_parcel(pool)
    with pytest.raises(Conflict) as refusal:
        await departures.shipment_shipped(event)
    assert refusal.value.code == "insufficient_stock"
    assert await levels(pool) == {"A-1": (7, 0), "B-2": (2, 0)}
    await pool.execute(
        "INSERT INTO stock_movements (movement_id, sku, kind, quantity, cause, actor)"
        " VALUES ($1, 'B-2', 'adjusted', 2, 'count', 'test')",
        uuid.uuid4(),
    )
    await departures.shipment_shipped(event)
    assert await levels(pool) == {"A-1": (4, 0), "B-2": (0, 2)}
    assert await violated(pool) == {}


@pytest.mark.parametrize("status", ["shipped", "packed"])
async def test_the_invariant_finds_a_parcel_without_movements_and_the_other_way(
    pool: Pool, status: str
) -> None:
    event = await a_parcel(pool, status)
    if status == "packed":
        assert await violated(pool) == {}
        await Departures(pool).shipment_shipped(event)
    (found,) = (await violated(pool)).items()
    assert found[0] == "shipped_units_are_those_of_parcels_that_left"
    assert {row["sku"] for row in found[1]} == set(BOX)
