"""Presenting a receipt over HTTP: what each buyer is told, and what is taken."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.errors import Overloaded, StoreUnavailable
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.intents import INTENT_FIELD, unpack_intent
from flashorder.reservations import honouring as honouring_module
from flashorder.reservations import receipt_routes, routes
from flashorder.reservations.admission import Admission
from flashorder.reservations.batching import Batcher
from flashorder.reservations.honouring import Honouring, Presented
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.records import HonourCode
from flashorder.reservations.service import Reservations
from flashorder.reservations.sold_out import SoldOut
from flashorder.sales.directory import SaleDirectory
from flashorder.sales.front import FrontSale, SaleFront
from tests.infra.http.serving import Served, served
from tests.reservations.fences import NothingPromised, Trusting
from tests.reservations.front import SECRET, a_purchase, a_sale, an_item
from tests.stores import BreakableStores

Told = tuple[int, dict[str, Any], bool]
SIGNED = ("order_id", "sku", "quantity", "unit_price", "receipt")


@dataclass
class Counter:
    """Where one buys and presents."""

    web: Served
    redis: Redis
    front: SaleFront
    registry: CollectorRegistry
    honouring: Honouring
    sale: FrontSale

    async def call(self, what: str, buyer: uuid.UUID, body: dict[str, Any], key: str = "") -> Told:
        headers = self.web.bearer(account_id=buyer) | ({"Idempotency-Key": key} if key else {})
        path = f"/v1/sales/{self.sale.sale_id}/{what}"
        async with self.web.client.post(path, json=body, headers=headers) as answer:
            replayed = answer.headers.get("Idempotency-Replayed") == "true"
            return answer.status, await answer.json(content_type=None), replayed

    async def buy(self, buyer: uuid.UUID, key: str = "k", **more: Any) -> dict[str, Any]:
        body = {"sku": self.sale.items[0].sku, "quantity": 1} | more
        status, told, _ = await self.call("orders", buyer, body, key)
        assert status == 202, told
        return told

    async def present(self, buyer: uuid.UUID, told: dict[str, Any], **changes: Any) -> Told:
        body = {name: told[name] for name in SIGNED} | changes
        return await self.call("receipts", buyer, body)

    async def lose(self) -> None:
        """The store comes back with the sale and none of its purchases."""
        await self.redis.flushall()
        await self.front.open(self.sale)

    async def units(self) -> tuple[int | None, int | None]:
        there = await self.front.read(self.sale.sale_id)
        assert there is not None
        return there.items[0].remaining, there.items[0].sold

    def counted(self, outcome: str) -> float:
        name = "flashorder_receipts_presented_total"
        return self.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


@pytest_asyncio.fixture(params=[1, 2])
async def counter(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Counter]:
    redis = connect_redis(redis_url)
    registry = CollectorRegistry()
    metrics = ReserveMetrics(registry)
    front = SaleFront(redis, request.param)
    directory = SaleDirectory(front, refresh_seconds=0.05)
    batchers = [
        Batcher(
            redis, shard, batch_max=256, waiting_max=1000, metrics=metrics, fence=Trusting(redis)
        )
        for shard in range(request.param)
    ]
    admission = Admission(redis, memory_share_max=0.9, metrics=metrics)
    sold_out = SoldOut(redis, skus_max=4, tokens_max=1000, metrics=metrics)
    reservations = Reservations(
        redis, directory, batchers, admission, sold_out, memory=NothingPromised(), secret=SECRET
    )
    honouring = Honouring(redis, request.param, admission, Trusting(redis))
    sale = a_sale(an_item(quantity=20, per_buyer_limit=2))
    await front.open(sale)
    stopping = asyncio.Event()
    owners = [asyncio.create_task(each.run(stopping)) for each in (*batchers, directory)]
    endpoints = [
        *routes.endpoints(reservations),
        *receipt_routes.endpoints(reservations, honouring, metrics),
    ]
    async with served(endpoints) as web:
        yield Counter(web, redis, front, registry, honouring, sale)
    stopping.set()
    await asyncio.gather(*owners)
    await honouring.close()
    await redis.aclose()


async def test_a_lost_purchase_is_honoured_once(counter: Counter) -> None:
    buyer, address_id = new_id(), str(new_id())
    told = await counter.buy(buyer, address_id=address_id, quantity=2)
    await counter.lose()
    status, again, replayed = await counter.present(buyer, told)
    assert (status, replayed) == (202, False)
    assert again["payment_due_at"] >= told["payment_due_at"]
    assert {**again, "payment_due_at": ""} == {**told, "payment_due_at": ""}
    # Presented a second time, or asked for by its key: the same order, to the letter.
    assert await counter.present(buyer, told) == (202, again, True)
    assert await counter.buy(buyer, address_id=address_id, quantity=2) == again
    assert await counter.units() == (18, 2)
    found = [
        entry for shard in range(2) for _, entry in await counter.redis.xrange(keys.intents(shard))
    ]
    (intent,) = (unpack_intent(each[INTENT_FIELD]) for each in found)
    assert uuid.UUID(bytes=intent.address_id) == uuid.UUID(address_id)
    assert uuid.UUID(bytes=intent.order_id) == uuid.UUID(told["order_id"])
    assert (counter.counted("honoured"), counter.counted("known")) == (1, 1)


async def test_a_key_that_came_first_is_the_order(counter: Counter) -> None:
    buyer = new_id()
    told = await counter.buy(buyer)
    await counter.lose()
    by_key = await counter.buy(buyer)
    assert by_key["order_number"] == told["order_number"]
    assert await counter.present(buyer, told) == (202, by_key, True)
    assert await counter.present(buyer, by_key) == (202, by_key, True)
    assert await counter.units() == (19, 1)


async def test_the_promised_price_stands(counter: Counter) -> None:
    buyer = new_id()
    told = await counter.buy(buyer)
    await counter.lose()
    for shard in range(2):
        key = keys.sale_keys(shard, counter.sale.sale_id)
        if await counter.redis.exists(key.items):
            await counter.redis.hset(key.items, counter.sale.items[0].sku, "999|2|999|dearer")
    status, again, _ = await counter.present(buyer, told)
    assert (status, again["unit_price"]) == (202, {"amount": 255, "currency": "GBP"})
    assert (await counter.buy(buyer))["unit_price"] == again["unit_price"]
    assert (await counter.buy(buyer, "other"))["unit_price"]["amount"] == 999


@pytest.mark.parametrize(
    "forged",
    [
        {"order_id": "018bcfe5-0000-7000-8000-000000000000"},
        {"sku": "71053"},
        {"quantity": 1},
        {"unit_price": {"amount": 254, "currency": "GBP"}},
        {"unit_price": {"amount": 255, "currency": "USD"}},
        {"unit_price": {"amount": 255, "currency": "GBP\n"}},
        {"receipt": "v1." + "0" * 32},
        {"receipt": "nonsense"},
    ],
)
async def test_what_was_not_promised_is_refused(counter: Counter, forged: dict[str, Any]) -> None:
    buyer = new_id()
    told = await counter.buy(buyer, quantity=2)
    await counter.lose()
    status, problem, _ = await counter.present(buyer, told, **forged)
    assert (status, problem["code"]) == (422, "receipt_invalid")
    assert await counter.units() == (20, 0)
    assert counter.counted("invalid") == 1


async def test_a_receipt_is_of_its_buyer_and_of_its_sale(counter: Counter) -> None:
    buyer = new_id()
    told = await counter.buy(buyer)
    status, problem, _ = await counter.present(new_id(), told)
    assert (status, problem["code"]) == (422, "receipt_invalid")
    counter.sale = a_sale(an_item(quantity=20))
    await counter.front.open(counter.sale)
    status, problem, _ = await counter.present(buyer, told)
    assert (status, problem["code"]) == (422, "receipt_invalid")
    counter.sale = a_sale()
    status, problem, _ = await counter.present(buyer, told)
    assert (status, problem["code"]) == (404, "sale_not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"order_id": "x" * 36},
        {"order_id": "short"},
        {"sku": ""},
        {"quantity": 0},
        {"unit_price": 255},
        {"unit_price": {"amount": -1, "currency": "GBP"}},
        {"unit_price": {"amount": 255, "currency": "€"}},
        {"receipt": ""},
        {"receipt": "v" * 200},
        {"more": 1},
    ],
)
async def test_what_cannot_be_is_told_by_field(counter: Counter, wrong: dict[str, Any]) -> None:
    buyer = new_id()
    told = await counter.buy(buyer)
    status, problem, _ = await counter.present(buyer, told, **wrong)
    assert (status, problem["code"]) == (422, "invalid_input")
    assert problem["errors"]


async def test_refusals_are_those_of_a_purchase(counter: Counter) -> None:
    buyer = new_id()
    told = await counter.buy(buyer)
    await counter.lose()
    await counter.buy(buyer, "instead", quantity=2)
    status, problem, _ = await counter.present(buyer, told)
    assert (status, problem["code"]) == (409, "limit_reached")
    other = new_id()
    lost = await counter.buy(other)
    await counter.lose()
    for shard in range(2):
        key = keys.sale_keys(shard, counter.sale.sale_id)
        if await counter.redis.exists(key.stock):
            await counter.redis.hset(key.stock, counter.sale.items[0].sku, 0)
    status, problem, _ = await counter.present(other, lost)
    assert (status, problem["code"]) == (409, "sold_out")
    assert (counter.counted("limit_reached"), counter.counted("sold_out")) == (1, 1)
    # A refusal is not remembered: once something has come back, it is there for the promise.
    await counter.lose()
    assert (await counter.present(other, lost))[0] == 202


async def test_a_sale_that_is_filled_asks_to_wait(counter: Counter) -> None:
    buyer = new_id()
    told = await counter.buy(buyer)
    await counter.redis.flushall()
    await counter.front.open_to_fill(counter.sale)
    status, problem, _ = await counter.present(buyer, told)
    assert (status, problem["code"]) == (503, "store_unavailable")


async def test_a_generation_that_is_news_is_asked_for(counter: Counter) -> None:
    buyer = new_id()
    told = await counter.buy(buyer)
    newer = a_sale(*counter.sale.items, generation=7)
    object.__setattr__(newer, "sale_id", counter.sale.sale_id)
    await counter.front.open(newer)
    async with asyncio.timeout(10):
        while (status := (await counter.present(buyer, told))[0]) == 503:
            await asyncio.sleep(0.02)
    assert status == 202


async def test_many_at_once_are_honoured_each_once(counter: Counter) -> None:
    buyers = [new_id() for _ in range(8)]
    told = [await counter.buy(buyer) for buyer in buyers]
    await counter.lose()
    answers = await asyncio.gather(
        *(counter.present(buyer, each) for buyer, each in zip(buyers, told, strict=True))
        , *(counter.present(buyer, each) for buyer, each in zip(buyers, told, strict=True))
    )  # fmt: skip
    assert [status for status, _, _ in answers] == [202] * 16
    assert sum(replayed for _, _, replayed in answers) == 8
    assert await counter.units() == (12, 8)


def presented(sale: FrontSale) -> Presented:
    return Presented(a_purchase(sale), 255)


async def test_more_than_may_wait_are_refused(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(honouring_module, "WAITING_MAX", 1)
    said = await asyncio.gather(
        *(counter.honouring.honour(presented(counter.sale)) for _ in range(2)),
        return_exceptions=True,
    )
    assert [type(each) for each in said][1:] == [Overloaded]
    assert (await counter.honouring.honour(presented(counter.sale))).code is HonourCode.HONOURED


async def test_a_call_that_was_broken_off_leaves_its_reply_to_nobody(counter: Counter) -> None:
    for _ in range(20):
        going = asyncio.create_task(counter.honouring.honour(presented(counter.sale)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        mine = presented(counter.sale)
        first = await counter.honouring.honour(mine)
        again = await counter.honouring.honour(mine)
        # Its own verdict, and then its own record: never what another one was told.
        if first.code is HonourCode.HONOURED:
            assert again.code is HonourCode.KNOWN
            assert isinstance(again.detail, bytes)
            assert again.detail[2:8] == mine.purchase.prefix
        else:
            assert first.code is HonourCode.SOLD_OUT


async def test_a_store_that_is_away_may_have_honoured_it(stores: BreakableStores) -> None:
    redis = connect_redis(stores.store.url)
    metrics = ReserveMetrics(CollectorRegistry())
    admission = Admission(redis, memory_share_max=0.9, metrics=metrics)
    honouring = Honouring(redis, 1, admission, Trusting(redis))
    sale = a_sale()
    await SaleFront(redis, 1).open(sale)
    mine = presented(sale)
    assert (await honouring.honour(mine)).code is HonourCode.HONOURED
    await stores.store.stop()
    with pytest.raises(StoreUnavailable):
        await honouring.honour(mine)
    await stores.store.start()
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                assert (await honouring.honour(mine)).code is HonourCode.KNOWN
                break
    await honouring.close()
    await redis.aclose()
