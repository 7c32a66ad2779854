"""Reading orders while PostgreSQL hangs: the front's memory answers, and soon."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from flashorder.infra.postgres.pool import connect_postgres
from flashorder.kernel.errors import DatabaseUnavailable
from flashorder.kernel.identifiers import new_id
from flashorder.orders.queries import OrderFilter, OrderQueries
from flashorder.reservations.ports import AcceptedPurchase
from tests.stores import BreakableStores


class Memory:
    """What the front remembers: one purchase."""

    def __init__(self, order_id: uuid.UUID) -> None:
        self._order_id = order_id

    async def find(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> AcceptedPurchase | None:
        if order_id != self._order_id:
            return None
        return AcceptedPurchase(
            order_id, new_id(), "SKU", "A name", 1, 1999, "GBP",
            1_700_000_000_000, 1_700_000_900_000,
        )  # fmt: skip


async def test_a_database_that_hangs_is_not_waited_for(stores: BreakableStores) -> None:
    order_id, buyer_id = new_id(), new_id()
    pool = await connect_postgres(stores.database_url, connections_max=4, read_timeout_seconds=0.5)
    queries = OrderQueries(pool, Memory(order_id))
    try:
        assert (await queries.own(order_id, buyer_id)).status == "accepted"
        stores.database.pause()
        began = time.monotonic()
        answers = await asyncio.gather(*(queries.own(order_id, buyer_id) for _ in range(25)))
        assert {answer.status for answer in answers} == {"accepted"}
        with pytest.raises(DatabaseUnavailable) as failure:
            await queries.own(new_id(), buyer_id)
        assert failure.value.retry_after_seconds
        with pytest.raises(DatabaseUnavailable):
            await queries.list_own(OrderFilter(buyer_id=buyer_id), 10)
        assert time.monotonic() - began < 6.0
    finally:
        stores.database.resume()
        await pool.close()
