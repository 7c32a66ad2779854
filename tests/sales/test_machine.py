"""Every pair of states, against the SQL."""

from __future__ import annotations

import pytest

from flashorder.kernel.errors import InvalidState
from flashorder.kernel.money import Money
from flashorder.sales.model import SALE, DraftItem, SaleStatus
from tests.sales.conftest import House

ONE_LANTERN = (DraftItem("LANTERN", 1, Money(199, "GBP"), 1),)


@pytest.mark.parametrize("source", list(SaleStatus))
async def test_a_pair_is_taken_if_and_only_if_the_table_has_it(
    house: House, source: SaleStatus
) -> None:
    verbs = {
        SaleStatus.SCHEDULED: house.service.schedule,
        SaleStatus.OPEN: house.service.open,
        SaleStatus.PAUSED: house.service.pause,
        SaleStatus.CLOSED: house.service.close,
        SaleStatus.SETTLED: lambda sale_id: house.service.settle(sale_id, actor="test"),
    }
    assert SALE.sources(SaleStatus.DRAFT) == []
    for target, step in verbs.items():
        sale = await house.created(items=ONE_LANTERN)
        if source is not SaleStatus.DRAFT:
            await house.pool.execute(
                "UPDATE sales SET status = $1, revision = 2 WHERE sale_id = $2",
                source,
                sale.sale_id,
            )
            await house.service.convergence.push(sale.sale_id)
        before = await house.service.get(sale.sale_id)
        refusal: InvalidState | None = None
        try:
            await step(sale.sale_id)
        except InvalidState as error:
            refusal = error
        after = await house.service.get(sale.sale_id)
        if SALE.permits(source, target):
            assert refusal is None, target
            assert (after.status, after.revision) == (target, before.revision + 1)
        elif source is target:
            assert refusal is None, target
            assert after == before
        else:
            assert refusal is not None, target
            assert refusal.code == "invalid_state"
            assert after == before


async def test_only_a_paused_sale_is_resumed(house: House) -> None:
    for source in SaleStatus:
        sale = await house.created(items=ONE_LANTERN)
        await house.pool.execute(
            "UPDATE sales SET status = $1 WHERE sale_id = $2", source, sale.sale_id
        )
        if source in {SaleStatus.PAUSED, SaleStatus.OPEN}:
            assert (await house.service.resume(sale.sale_id)).status is SaleStatus.OPEN
        else:
            with pytest.raises(InvalidState):
                await house.service.resume(sale.sale_id)
