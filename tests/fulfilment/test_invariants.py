"""Each invariant finds what it is there for."""

from __future__ import annotations

import uuid

import pytest

from flashorder.fulfilment.invariants import INVARIANTS
from tests.fulfilment.conftest import House
from tests.fulfilment.test_tracking import on_its_way

DAMAGE = {
    "fulfilment.cancelled_orders_send_no_parcel": (
        "UPDATE orders SET status = 'cancelled', cancel_reason = 'x', cancelled_at = now()"
    ),
    "fulfilment.parcels_go_where_the_order_says": (
        'UPDATE orders SET ship_to = ship_to || \'{"city": "Paris"}\''
    ),
    "fulfilment.shipments_hold_what_was_ordered": (
        "UPDATE shipment_lines SET quantity = 9 WHERE line_no = 1"
    ),
    "fulfilment.shipment_timeline_is_contiguous": "DELETE FROM shipment_events WHERE version = 2",
    "fulfilment.tracking_is_the_furthest_heard": (
        "UPDATE shipments SET tracking_status = 'in_transit'"
    ),
}


async def violated(house: House) -> dict[str, list[uuid.UUID]]:
    found = {each.name: await house.pool.fetch(each.sql) for each in INVARIANTS}
    return {name: [row["shipment_id"] for row in rows] for name, rows in found.items() if rows}


@pytest.mark.parametrize("name", [each.name for each in INVARIANTS])
async def test_damage_is_found_by_its_invariant_alone(house: House, name: str) -> None:
    shipment_id, _ = await on_its_way(house)
    assert await violated(house) == {}
    await house.pool.execute(DAMAGE[name])
    assert await violated(house) == {name: [shipment_id]}
