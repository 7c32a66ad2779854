"""Buying through the service: one order a key, and an order that only its buyer can see."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from traceback import walk_tb

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.endpoint import Call, Caller, Endpoint, Role
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.keys import sale_keys
from flashorder.kernel.errors import Conflict, NotFound
from flashorder.kernel.identifiers import new_id, shard_of
from flashorder.reservations.admission import Admission
from flashorder.reservations.batching import Batcher
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.records import ReserveCode
from flashorder.reservations.routes import PurchaseBody, endpoints
from flashorder.reservations.service import NOTHING_LEFT, Reservations
from flashorder.reservations.sold_out import SoldOut
from flashorder.sales.directory import SaleDirectory
from flashorder.sales.front import FrontSale, SaleFront
from tests.reservations.fences import NothingPromised, Trusting
from tests.reservations.front import SECRET, a_sale, an_item

SHARDS = 2


@dataclass
class Shop:
    reservations: Reservations
    directory: SaleDirectory
    redis: Redis
    sale: FrontSale
    sold_out: SoldOut

    @property
    def call_that_buys(self) -> Endpoint:
        (endpoint,) = endpoints(self.reservations)
        return endpoint

    def call(self, key: str) -> Call:
        """What a new buyer sends."""
        return Call(
            None,
            {"sale_id": str(self.sale.sale_id)},
            PurchaseBody(self.sale.items[0].sku, 1),
            None,
            Caller(new_id(), Role.SHOPPER, "session", 0),
            key,
        )

    async def buy(self, buyer: uuid.UUID, key: str, quantity: int = 1) -> tuple[str, ReserveCode]:
        token = self.reservations.token_of(buyer.bytes, self.sale.sale_bytes, key)
        purchase = self.reservations.purchase(
            self.sale, buyer.bytes, token, self.sale.items[0].sku, quantity
        )
        verdict = await self.reservations.buy(purchase)
        self.reservations.notice(purchase, verdict)
        return str(uuid.UUID(bytes=purchase.prefix + purchase.token)), verdict.code


@pytest_asyncio.fixture
async def shop(redis_url: str) -> AsyncIterator[Shop]:
    redis = connect_redis(redis_url)
    metrics = ReserveMetrics(CollectorRegistry())
    front = SaleFront(redis, SHARDS)
    directory = SaleDirectory(front, refresh_seconds=60)
    batchers = [
        Batcher(
            redis, shard, batch_max=256, waiting_max=1000, metrics=metrics, fence=Trusting(redis)
        )
        for shard in range(SHARDS)
    ]
    admission = Admission(redis, memory_share_max=0.9, metrics=metrics)
    sold_out = SoldOut(redis, skus_max=4, tokens_max=1000, metrics=metrics)
    reservations = Reservations(
        redis, directory, batchers, admission, sold_out, memory=NothingPromised(), secret=SECRET
    )
    sale = a_sale(an_item(quantity=100, per_buyer_limit=3))
    await front.open(sale)
    stopping = asyncio.Event()
    owners = [asyncio.create_task(each.run(stopping)) for each in (*batchers, sold_out)]
    yield Shop(reservations, directory, redis, sale, sold_out)
    stopping.set()
    await asyncio.gather(*owners)
    await redis.aclose()


async def test_a_sale_opened_a_moment_ago_is_found_and_no_other(shop: Shop) -> None:
    assert (await shop.reservations.find_sale(shop.sale.sale_id)).sale_id == shop.sale.sale_id
    with pytest.raises(NotFound) as caught:
        await shop.reservations.find_sale(new_id())
    assert caught.value.code == "sale_not_found"


async def test_one_key_is_one_order_for_one_buyer(shop: Shop) -> None:
    buyer, other = new_id(), new_id()
    answers = await asyncio.gather(*(shop.buy(buyer, "k") for _ in range(10)))
    assert [code for _, code in answers].count(ReserveCode.ACCEPTED) == 1
    assert [code for _, code in answers].count(ReserveCode.REPLAYED) == 9
    assert (await shop.buy(other, "k"))[1] is ReserveCode.ACCEPTED
    assert (await shop.buy(buyer, "k", quantity=2))[1] is ReserveCode.KEY_REUSED


async def test_an_accepted_order_is_seen_by_its_buyer_alone(shop: Shop) -> None:
    await shop.directory.refresh()
    buyer = new_id()
    order_id = uuid.UUID((await shop.buy(buyer, "k", quantity=2))[0])
    found = await shop.reservations.find(order_id, buyer)
    assert found is not None
    assert (found.order_id, found.quantity, found.unit_price_amount) == (order_id, 2, 255)
    assert found.due_ms - found.accepted_ms == pytest.approx(900_000, abs=5_000)
    # A stranger in the same shard, so that it is the record that tells them apart.
    stranger = uuid.UUID(bytes=buyer.bytes[:12] + bytes([buyer.bytes[12] ^ 1]) + buyer.bytes[13:])
    assert await shop.reservations.find(order_id, stranger) is None
    forged = uuid.UUID(bytes=b"\0" * 6 + order_id.bytes[6:])
    assert await shop.reservations.find(forged, buyer) is None
    assert await shop.reservations.find(new_id(), buyer) is None


async def test_a_sale_built_anew_is_asked_for_again(shop: Shop) -> None:
    await shop.directory.refresh()
    front = SaleFront(shop.redis, SHARDS)
    newer = a_sale(an_item(quantity=5), generation=2)
    object.__setattr__(newer, "sale_id", shop.sale.sale_id)
    await front.open(newer)
    assert (await shop.buy(new_id(), "k"))[1] is ReserveCode.STALE_GENERATION
    stopping = asyncio.Event()
    reading = asyncio.create_task(shop.directory.run(stopping))
    async with asyncio.timeout(10):
        while True:
            known = shop.directory.get(shop.sale.sale_id)
            assert known is not None
            if known.generation == 2:
                break
            await asyncio.sleep(0.01)
    stopping.set()
    await reading


async def test_what_is_sold_out_is_refused_without_the_store(shop: Shop) -> None:
    sale = a_sale(an_item(quantity=2, per_buyer_limit=3))  # a unit a shard
    await SaleFront(shop.redis, SHARDS).open(sale)
    shop.sale = sale
    buyers = {shard: uuid.UUID(int=(1 << 64) + shard) for shard in range(SHARDS)}
    for buyer in buyers.values():
        assert (await shop.buy(buyer, "mine"))[1] is ReserveCode.ACCEPTED

    async def calls() -> int:
        return int((await shop.redis.info("commandstats"))["cmdstat_evalsha"]["calls"])

    for buyer in buyers.values():
        async with asyncio.timeout(10):
            while True:
                before = await calls()
                answers = [(await shop.buy(buyer, f"late {n}", quantity=2))[1] for n in range(20)]
                assert set(answers) == {ReserveCode.SOLD_OUT}
                if await calls() - before < 20:  # the looks at the leases are few
                    break
        assert (await shop.buy(buyer, "mine"))[1] is ReserveCode.REPLAYED
        assert (await shop.buy(buyer, "late", quantity=4))[1] is ReserveCode.LIMIT_REACHED


async def test_an_answer_that_fails_does_not_cost_others_theirs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SoldOut, "refuses", lambda *_: True)
    told: list[object] = []
    both = asyncio.Event()

    def settle(outcome: object) -> None:
        told.append(outcome)
        if len(told) == 2:
            both.set()
        raise ConnectionResetError

    monkeypatch.setattr(shop.sold_out, "leases", {"something": "lent"})
    for buyer in (new_id(), new_id()):
        token = shop.reservations.token_of(buyer.bytes, shop.sale.sale_bytes, "k")
        assert shop.reservations.refuses(shop.sale, buyer.bytes, "85123A", 1, token, settle)
    shop.sold_out.leases = {}
    assert not told  # together, after the turn that they came in
    async with asyncio.timeout(10):
        await both.wait()
    assert told == [NOTHING_LEFT] * 2


async def test_what_many_are_told_keeps_nothing_of_each(shop: Shop) -> None:
    shop.sale = a_sale(an_item(quantity=0))
    await SaleFront(shop.redis, SHARDS).open(shop.sale)
    frames = set()
    for _ in range(3):
        with pytest.raises(Conflict) as caught:
            await shop.call_that_buys.handler(shop.call("k"))
        assert caught.value is NOTHING_LEFT
        frames.add(len(list(walk_tb(caught.tb))))
    assert len(frames) == 1


async def test_an_answer_that_cannot_be_made_is_a_failure_that_is_told(shop: Shop) -> None:
    await shop.directory.refresh()
    begin = shop.call_that_buys.direct
    assert begin is not None
    call = shop.call("k")

    async def told() -> object:
        word = asyncio.get_running_loop().create_future()
        assert begin(call, word.set_result)
        async with asyncio.timeout(10):
            return await word

    first = await told()
    assert isinstance(first, Answer)
    assert first.status == 202
    buyer = call.caller.account_bytes
    tokens = sale_keys(shard_of(buyer, SHARDS), shop.sale.sale_id).tokens
    token = shop.reservations.token_of(buyer, shop.sale.sale_bytes, "k")
    record = await shop.redis.hget(tokens, token)
    await shop.redis.hset(tokens, token, record[:16] + b"nothing that can be read")
    assert isinstance(await told(), ValueError)
