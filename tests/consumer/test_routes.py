"""Dead letters over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from redis.asyncio import Redis

from flashorder.consumer.dead_letters import DeadLetters
from flashorder.consumer.routes import endpoints
from flashorder.infra.http.endpoint import Role
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.identifiers import new_id
from tests.consumer.shop import SKU, Shop
from tests.infra.http.serving import Served, make_settings, served

ROOT = "/v1/admin/dead-letters"


@pytest_asyncio.fixture
async def shop(pool: Pool, redis: Redis) -> Shop:
    return await Shop.open(pool, redis, 10, allotted=0)


@pytest_asyncio.fixture
async def site(shop: Shop) -> AsyncIterator[Served]:
    letters = DeadLetters(shop.pool, shop.holds)
    async with served(endpoints(letters), settings=make_settings()) as up:
        yield up


async def call(site: Served, method: str, path: str, role: Role = Role.OPERATOR) -> Any:
    async with site.client.request(method, path, headers=site.bearer(role)) as answer:
        return answer.status, await answer.json()


async def test_listing_retrying_and_discarding(site: Served, shop: Shop) -> None:
    first, second = await shop.place(), await shop.place()
    status, page = await call(site, "GET", f"{ROOT}?status=held&limit=1")
    assert status == 200
    (letter,) = page["items"]
    assert (letter["order_id"], letter["sku"], letter["status"]) == (
        str(second.order_id), SKU, "held",
    )  # fmt: skip
    status, page = await call(site, "GET", f"{ROOT}?cursor={page['next_cursor']}")
    (older,) = page["items"]
    assert older["order_id"] == str(first.order_id)
    assert "no units left" in older["error"]

    path = f"{ROOT}/{letter['dead_letter_id']}"
    status, problem = await call(site, "POST", f"{path}/retry")
    assert (status, problem["code"]) == (409, "dead_letter_refused")
    await shop.pool.execute("UPDATE sale_items SET allotted = 10")
    status, after = await call(site, "POST", f"{path}/retry")
    assert (status, after["status"]) == (200, "retried")
    assert after["closed_by"] is not None
    status, problem = await call(site, "POST", f"{path}/discard")
    assert (status, problem["code"]) == (409, "invalid_state")
    status, after = await call(site, "POST", f"{ROOT}/{older['dead_letter_id']}/discard")
    assert (status, after["status"]) == (200, "discarded")
    assert (await call(site, "GET", path))[1]["status"] == "retried"


async def test_who_may_and_what_is_not_there(site: Served) -> None:
    for method, end in [("GET", ""), ("POST", "/retry"), ("POST", "/discard")]:
        status, problem = await call(site, method, f"{ROOT}/{new_id()}{end}")
        assert (status, problem["code"]) == (404, "dead_letter_not_found")
        status, problem = await call(site, method, f"{ROOT}/{new_id()}{end}", Role.SHOPPER)
        assert (status, problem["code"]) == (403, "forbidden")
    assert (await call(site, "GET", f"{ROOT}?status=lost"))[0] == 422
