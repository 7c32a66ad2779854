"""A sale at the front: opened once a generation, changed by revision, topped up by id."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.errors import StoreUnavailable
from flashorder.kernel.identifiers import shard_of
from flashorder.reservations.holds import StoreHolds
from flashorder.reservations.ports import ReclaimOutcome, ReleaseOutcome
from flashorder.reservations.records import PurchaseRecord
from flashorder.sales.front import (
    ChangeOutcome,
    FrontSale,
    OpenOutcome,
    RestoredPurchase,
    RestoreOutcome,
    SaleFront,
    TopUpOutcome,
)
from flashorder.sales.model import SaleStatus
from tests.reservations.front import a_purchase, a_sale, an_item

SKU = "85123A"


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture(params=[1, 3])
def front(request: pytest.FixtureRequest, client: Redis) -> SaleFront:
    return SaleFront(client, request.param)


async def units(front: SaleFront, sale: FrontSale) -> tuple[int | None, int | None]:
    found = await front.read(sale.sale_id)
    assert found is not None
    return found.items[0].remaining, found.items[0].sold


async def test_opening_writes_stock_once(front: SaleFront) -> None:
    sale = a_sale(an_item(quantity=10))
    assert await front.open(sale) is OpenOutcome.OPENED
    assert await front.open(replace(sale, items=(an_item(quantity=99),))) is (
        OpenOutcome.ALREADY_OPEN
    )
    assert await units(front, sale) == (10, 0)
    found = await front.read(sale.sale_id)
    assert found is not None
    assert replace(found, items=()) == replace(sale, items=())
    assert replace(found.items[0], remaining=None, sold=None, quantity=10) == sale.items[0]
    assert await front.read_all() == [found]


async def test_a_newer_generation_replaces_and_an_older_one_is_refused(front: SaleFront) -> None:
    sale = a_sale(an_item(quantity=10))
    await front.open(replace(sale, generation=2))
    assert await front.open(sale) is OpenOutcome.STALE_GENERATION
    newer = replace(sale, generation=3, items=(an_item(quantity=4),))
    assert await front.open(newer) is OpenOutcome.OPENED
    assert await units(front, sale) == (4, 0)
    assert await front.change(sale) is ChangeOutcome.STALE_GENERATION


async def test_changes_apply_in_any_order(front: SaleFront) -> None:
    sale = a_sale(an_item(quantity=10))
    assert await front.change(sale) is ChangeOutcome.SALE_MISSING
    await front.open(sale)
    paused = replace(sale, revision=2, status=SaleStatus.PAUSED)
    closed = replace(sale, revision=3, status=SaleStatus.CLOSED)
    assert await front.change(closed) is ChangeOutcome.CHANGED
    assert await front.change(paused) is ChangeOutcome.NOT_NEWER
    found = await front.read(sale.sale_id)
    assert found is not None
    assert (found.status, found.revision) == (SaleStatus.CLOSED, 3)
    assert found.items[0].remaining == 10


async def test_a_top_up_counts_once_and_never_below_zero(front: SaleFront) -> None:
    sale = a_sale(an_item(quantity=10))
    top_up_id = uuid.uuid4()
    missing = await front.top_up(sale.sale_id, 1, top_up_id, SKU, 5)
    assert missing is TopUpOutcome.SALE_MISSING
    await front.open(sale)
    assert await front.top_up(sale.sale_id, 1, top_up_id, SKU, 5) is TopUpOutcome.APPLIED
    again = await front.top_up(sale.sale_id, 1, top_up_id, SKU, 5)
    assert again is TopUpOutcome.ALREADY_APPLIED
    assert await units(front, sale) == (15, 0)
    stale = await front.top_up(sale.sale_id, 2, uuid.uuid4(), SKU, 5)
    assert stale is TopUpOutcome.STALE_GENERATION
    assert await front.top_up(sale.sale_id, 1, uuid.uuid4(), SKU, -10) is TopUpOutcome.APPLIED
    below = await front.top_up(sale.sale_id, 1, uuid.uuid4(), SKU, -9)
    assert below is TopUpOutcome.BELOW_ZERO
    assert await units(front, sale) == (5, 0)


async def test_a_snapshot_has_stock_and_watermark(front: SaleFront, client: Redis) -> None:
    sale = a_sale(an_item(quantity=7))
    assert await front.snapshot(sale.sale_id) == []
    await front.open(sale)
    entry = await client.xadd(keys.intents(0), {"any": "thing"})
    first, *others = await front.snapshot(sale.sale_id)
    assert "-".join(map(str, first.last_intent)) == entry.decode()
    assert sum(each.stock[SKU] for each in [first, *others]) == 7
    assert all(each.last_intent == (0, 0) for each in others)


async def test_removal_leaves_nothing_behind(front: SaleFront, client: Redis) -> None:
    sale = a_sale()
    await front.open(sale)
    await front.top_up(sale.sale_id, 1, uuid.uuid4(), SKU, 5)
    await front.remove(sale.sale_id)
    await front.remove(sale.sale_id)
    assert await client.keys("*") == []
    assert await front.read_all() == []


async def test_restored_purchases_are_held_and_replayed(client: Redis) -> None:
    front, sale = SaleFront(client, 1), a_sale(an_item(quantity=3))
    holds = StoreHolds(client, 1)
    sale = replace(sale, status=SaleStatus.PAUSED)
    await front.open(sale)
    wishes = [a_purchase(sale, quantity=2) for _ in range(2)]
    chunk = [
        RestoredPurchase(
            token=wish.token,
            record=PurchaseRecord(
                True, 1, wish.prefix, wish.fingerprint, 2, 255, 1_700_000_000_000, SKU
            ).pack(),
            buyer_id=wish.buyer_id,
            sku=SKU,
            quantity=2,
        )
        for wish in wishes
    ]
    assert await front.restore(sale.sale_id, 1, 0, chunk) == (RestoreOutcome.RESTORED, 1, 1)
    assert await front.restore(sale.sale_id, 1, 0, chunk[:1]) == (RestoreOutcome.RESTORED, 0, 0)
    assert await units(front, sale) == (1, 2)
    order_id = uuid.UUID(bytes=wishes[0].prefix + wishes[0].token)
    buyer = uuid.UUID(bytes=wishes[0].buyer_id)
    assert await holds.release(sale.sale_id, order_id, buyer, 1) is ReleaseOutcome.RELEASED
    assert await units(front, sale) == (3, 0)
    await front.change(replace(sale, revision=2, status=SaleStatus.OPEN))
    assert await front.restore(sale.sale_id, 1, 0, chunk) == (RestoreOutcome.SALE_IS_OPEN, 0, 0)
    assert await front.restore(sale.sale_id, 9, 0, chunk) == (
        RestoreOutcome.STALE_GENERATION, 0, 0)  # fmt: skip


@pytest.mark.parametrize("shards", [1, 4])
async def test_holds_go_to_the_buyer_s_shard(client: Redis, shards: int) -> None:
    front, holds, sale = SaleFront(client, shards), StoreHolds(client, shards), a_sale(an_item())
    buyer, order_id = uuid.UUID(bytes=os.urandom(16)), uuid.uuid4()
    gone = await holds.release(sale.sale_id, order_id, buyer, 1)
    assert gone is ReleaseOutcome.SALE_GONE
    await front.open(sale)
    unknown = await holds.release(sale.sale_id, order_id, buyer, 1)
    assert unknown is ReleaseOutcome.UNKNOWN_ORDER
    record = PurchaseRecord(True, 1, order_id.bytes[:6], bytes(8), 1, 255, 0, SKU)
    key = keys.sale_keys(shard_of(buyer.bytes, shards), sale.sale_id)
    await client.hset(key.tokens, order_id.bytes[6:], record.pack())
    await client.hincrby(key.sold, SKU, 1)
    assert await holds.reclaim(sale.sale_id, order_id, buyer, 2) is ReclaimOutcome.STILL_HELD
    assert await holds.release(sale.sale_id, order_id, buyer, 1) is ReleaseOutcome.RELEASED
    assert await holds.reclaim(sale.sale_id, order_id, buyer, 2) is ReclaimOutcome.RECLAIMED
    assert await holds.release(sale.sale_id, order_id, buyer, 1) is ReleaseOutcome.SUPERSEDED


async def test_a_store_that_is_away_is_one_error() -> None:
    client = connect_redis("redis://127.0.0.1:1", timeout_seconds=0.2)
    with pytest.raises(StoreUnavailable):
        await SaleFront(client, 1).read_all()
    await client.aclose()
