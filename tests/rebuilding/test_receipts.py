"""A purchase whose only copy went down with the store: presented again, it is the order it was."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs
from prometheus_client import CollectorRegistry

from flashorder.infra.redis import keys
from flashorder.kernel.errors import Conflict
from flashorder.kernel.identifiers import order_id_prefix, order_number, shard_of
from flashorder.reservations.admission import Admission
from flashorder.reservations.honouring import Honouring, Presented
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.records import HonourCode, Purchase, ReserveCode
from flashorder.sales.model import SaleStatus
from tests.rebuilding.conftest import Market, order_id_of

PROMISED, LIST_PRICE = 149, 199
HONOURED, KNOWN = HonourCode.HONOURED, HonourCode.KNOWN


class Desk:
    """Presents receipts, by the generation that the front has."""

    def __init__(self, market: Market) -> None:
        self._market = market
        metrics = ReserveMetrics(CollectorRegistry())
        admission = Admission(market.redis, memory_share_max=0.9, metrics=metrics)
        self.honouring = Honouring(market.redis, market.settings.shards, admission, market.fencing)

    async def present(self, lost: Purchase, price: int = PROMISED) -> HonourCode:
        sale = await self._market.sales.get(self._market.sale.sale_id)
        receipt = structs.replace(lost, generation=sale.generation)
        return (await self.honouring.honour(Presented(receipt, price))).code


@pytest_asyncio.fixture
async def desk(market: Market) -> AsyncIterator[Desk]:
    desk = Desk(market)
    yield desk
    await desk.honouring.close()


async def orders(market: Market) -> list[dict[str, Any]]:
    rows = await market.pool.fetch(
        "SELECT order_id, buyer_id, order_number, orders.total_amount, quantity, "
        "fingerprint FROM orders JOIN order_lines USING (order_id) ORDER BY order_id"
    )
    return [dict(row) for row in rows]


async def lost_and_rebuilt(market: Market, **wish: Any) -> Purchase:
    """One purchase reached PostgreSQL, the other one, which is returned, did not."""
    await market.buy()
    await market.drain()
    lost = await market.buy(**wish)
    await market.lose()
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert await market.remaining() == {"LANTERN": 9, "BOTTLE": 5}
    return lost


async def test_it_is_honoured_and_becomes_the_order_that_was_promised(
    market: Market, desk: Desk
) -> None:
    lost = await lost_and_rebuilt(market, units=2)
    assert await desk.present(lost) is HONOURED
    assert await market.remaining() == {"LANTERN": 7, "BOTTLE": 5}
    await market.drain()
    order_id = order_id_of(lost)
    (order,) = (each for each in await orders(market) if each["order_id"] == order_id)
    assert order == {
        "order_id": order_id,
        "buyer_id": uuid.UUID(bytes=lost.buyer_id),
        "order_number": order_number(order_id.bytes),
        "total_amount": 2 * PROMISED,
        "quantity": 2,
        "fingerprint": lost.fingerprint,
    }
    assert await desk.present(lost) is KNOWN
    assert (await market.send(lost))[0] is ReserveCode.REPLAYED
    assert await market.violations() == []
    # And it is not lost a second time.
    await market.lose()
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert await desk.present(lost) is KNOWN
    assert await market.remaining() == {"LANTERN": 7, "BOTTLE": 5}


@pytest.mark.parametrize("receipt_first", [True, False])
async def test_key_and_receipt_are_one_order_whichever_comes_first(
    market: Market, desk: Desk, receipt_first: bool
) -> None:
    lost = await lost_and_rebuilt(market)
    by_key = structs.replace(lost, prefix=order_id_prefix(0))
    if receipt_first:
        assert await desk.present(lost) is HONOURED
        assert (await market.send(by_key))[0] is ReserveCode.REPLAYED
    else:
        assert (await market.send(by_key))[0] is ReserveCode.ACCEPTED
        assert await desk.present(lost) is KNOWN
    await market.drain()
    ours = [each for each in await orders(market) if each["buyer_id"].bytes == lost.buyer_id]
    assert [each["order_id"] for each in ours] == [order_id_of(lost if receipt_first else by_key)]
    assert await market.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await market.violations() == []


@pytest.mark.parametrize("late", [True, False])
async def test_an_order_that_was_in_a_consumers_hands_is_not_made_twice(
    market: Market, desk: Desk, late: bool
) -> None:
    """The batch that held it is committed after the rebuild, and after the receipt or its entry."""
    lost = await market.buy()
    shard = shard_of(lost.buyer_id, market.settings.shards)
    ((entry_id, entry),) = await market.redis.xrange(keys.intents(shard))
    await market.lose()
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert await desk.present(lost, LIST_PRICE) is HONOURED
    honoured = await market.redis.xrange(keys.intents(shard))
    await market.redis.delete(keys.intents(shard))
    both = [(entry_id, entry), *honoured]
    for each_id, each in reversed(both) if late else both:
        await market.redis.xadd(keys.intents(shard), each, id=each_id)
        await market.drain()
        await market.redis.delete(keys.intents(shard))
    assert [each["order_id"] for each in await orders(market)] == [order_id_of(lost)]
    assert await market.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await market.remaining() == {"LANTERN": 9, "BOTTLE": 5}
    assert await market.violations() == []


async def test_nothing_is_honoured_of_a_generation_that_is_being_filled(
    market: Market, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its units are those of orders that are about to be restored."""
    for _ in range(10):
        await market.buy()
    await market.drain()
    lost = structs.replace(market.wish(), prefix=b"\0\0\0\0\0\1")
    await market.lose()
    said = []
    restore = market.front.restore

    async def presenting(*arguments: Any) -> Any:
        said.append(await desk.present(lost))
        return await restore(*arguments)

    monkeypatch.setattr(market.front, "restore", presenting)
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert set(said) == {HonourCode.FILLING}
    assert await desk.present(lost) is HonourCode.SOLD_OUT
    assert await market.violations() == []


async def test_it_is_honoured_after_the_close_until_the_sale_is_settled(
    market: Market, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, late = await market.buy(), market.wish()
    await market.lose()
    await market.sales.close(market.sale.sale_id)
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert await desk.present(lost) is HONOURED
    with pytest.raises(Conflict) as raised:
        await market.sales.settle(market.sale.sale_id, actor="test")
    assert raised.value.code == "sale_not_drained"
    await market.drain()
    await market.cancel(lost)
    await market.release(lost)

    # One that is presented while the sale is settled is honoured, and settling waits, or it is not.
    seal = market.front.seal

    async def presented_before(sale_id: uuid.UUID) -> Any:
        monkeypatch.undo()
        assert await desk.present(late) is HONOURED
        return await seal(sale_id)

    monkeypatch.setattr(market.front, "seal", presented_before)
    with pytest.raises(Conflict) as raised:
        await market.sales.settle(market.sale.sale_id, actor="test")
    assert raised.value.code == "sale_not_drained"
    assert await desk.present(market.wish()) is HonourCode.ENDED
    assert await desk.present(late) is KNOWN
    await market.drain()
    await market.cancel(late)
    await market.release(late)
    await market.sales.settle(market.sale.sale_id, actor="test")
    assert await desk.present(market.wish()) is HonourCode.SALE_NOT_FOUND
    assert (await market.sales.get(market.sale.sale_id)).status is SaleStatus.SETTLED


async def test_no_more_is_honoured_than_there_is(market: Market, desk: Desk) -> None:
    lost = [await market.buy(buyer=os.urandom(12) + n.to_bytes(4)) for n in range(8)]
    await market.lose()
    await market.rebuilding.rebuild(market.sale.sale_id)
    for n in range(6):
        assert (await market.send(market.wish(buyer=os.urandom(12) + n.to_bytes(4))))[0] is (
            ReserveCode.ACCEPTED
        )
    said = [await desk.present(each) for each in lost]
    assert said.count(HONOURED) == 4
    assert set(said) == {HONOURED, HonourCode.SOLD_OUT}
    await market.drain()
    assert await market.pool.fetchval("SELECT count(*) FROM orders") == 10
    assert await market.violations() == []
