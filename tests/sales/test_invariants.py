"""Each invariant holds on a house in order, and speaks when it does not."""

from __future__ import annotations

import pytest

from flashorder.infra.postgres.invariants import Invariant
from flashorder.sales.invariants import INVARIANTS
from tests.sales.conftest import House

VIOLATIONS = {
    "sale_committed_within_allotted": (
        "ALTER TABLE sale_items DROP CONSTRAINT sale_items_check; "
        "UPDATE sale_items SET committed = allotted + 1"
    ),
    "sale_committed_is_ordered": "UPDATE sale_items SET committed = committed + 1",
    "sale_allotted_is_allocated": "UPDATE sale_items SET allotted = allotted + 1",
    "sale_top_ups_applied_when_settled": (
        "UPDATE sales SET status = 'settled'; "
        "INSERT INTO sale_top_ups (top_up_id, sale_id, sku, quantity, cause) "
        "SELECT gen_random_uuid(), sale_id, sku, 1, 'test' FROM sale_items"
    ),
}


async def test_a_house_in_order_has_no_violation(house: House) -> None:
    sale = await house.opened()
    await house.order(sale, "LANTERN", 3, "paid")
    for invariant in INVARIANTS:
        assert await house.pool.fetch(invariant.sql) == [], invariant.name


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.name)
async def test_a_violation_is_told(house: House, invariant: Invariant) -> None:
    await house.opened()
    await house.pool.execute(VIOLATIONS[invariant.name])
    assert await house.pool.fetch(invariant.sql), invariant.name
