"""Each invariant holds over a lively desk, and finds what it is there to find."""

from __future__ import annotations

import pytest

from flashorder.kernel.identifiers import new_id
from flashorder.orders.invariants import INVARIANTS
from tests.orders.desk import Desk

DAMAGES = {
    "order_timeline_is_contiguous": [
        "DELETE FROM order_events WHERE type = 'paid'",
        "UPDATE orders SET version = version + 1",
    ],
    "order_timeline_is_a_path": [
        "UPDATE order_events SET type = 'cancelled' WHERE type = 'shipped'",
        "UPDATE order_events SET type = 'note' WHERE type = 'placed'",
    ],
    "order_status_is_the_last_step": [
        "UPDATE orders SET status = 'awaiting_shipment' WHERE status = 'paid'",
    ],
    "order_events_have_an_order": [
        "UPDATE order_events SET order_id = gen_random_uuid() WHERE type = 'paid'",
        "UPDATE order_lines SET order_id = gen_random_uuid()",
    ],
    "order_total_is_the_sum_of_its_lines": [
        "UPDATE orders SET total_amount = total_amount + 1",
        "DELETE FROM order_lines",
    ],
    "committed_units_are_those_of_living_orders": [
        "UPDATE sale_items SET committed = committed + 1",
        "DELETE FROM order_lines",
    ],
    "paid_orders_stand_on_captured_money": [
        "UPDATE payments SET status = 'pending', captured_at = NULL, keeps_order = false",
        "UPDATE payments SET amount = amount - 1",
    ],
    "orders_cost_what_the_sale_promised": [
        "UPDATE order_lines SET unit_price_amount = 1, total_amount = quantity",
        "UPDATE orders SET currency = 'EUR'",
        "DELETE FROM sale_items",
    ],
    "standing_orders_keep_their_money": [
        "UPDATE payments SET keeps_order = false",
        "UPDATE payments SET keeps_order = false, refunded_amount = amount",
        "DELETE FROM payments",
    ],
    "shipped_orders_have_a_parcel": ["DELETE FROM shipments"],
    "buyers_stay_within_the_limit": ["UPDATE sale_items SET per_buyer_limit = 1"],
}


@pytest.fixture
async def lively(desk: Desk) -> Desk:
    """Orders in every state that an order can be in."""
    for number in range(5):
        bought = await desk.shop.place(1)
        if number > 0:
            await desk.pay(bought)
        if number > 1:
            await desk.service.release_to_warehouse(bought.order_id, new_id())
        if number > 2:
            await desk.ship(bought)
            await desk.relay()
        if number > 3:
            await desk.service.confirm_receipt(bought.order_id, bought.buyer_id)
    late = await desk.shop.place(1)
    await desk.expire(late)
    await desk.pay(late)
    gone = await desk.shop.place(1)
    await desk.service.cancel_own(gone.order_id, gone.buyer_id, "changed_mind")
    await desk.shop.place(2)
    await desk.relay()
    return desk


async def test_a_lively_desk_violates_none_and_each_finds_its_damage(lively: Desk) -> None:
    assert set(DAMAGES) == {each.name for each in INVARIANTS}
    assert await lively.shop.violations() == []
    for invariant in INVARIANTS:
        for damage in DAMAGES[invariant.name]:
            async with lively.pool.acquire() as connection:
                broken = connection.transaction()
                await broken.start()
                await connection.execute(damage)
                found = await connection.fetch(invariant.sql)
                await broken.rollback()
            assert found, f"{invariant.name} does not find: {damage}"
    assert await lively.shop.violations() == []
