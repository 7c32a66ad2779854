"""An order that only the store knew, and the store has lost: nobody is told that it never was."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from flashorder.app.background import build_consumer
from flashorder.app.web import build_web
from flashorder.infra.http.server import serve
from flashorder.settings import Settings
from tests.contract import Contract
from tests.faults.clients import SIGNED
from tests.journeys.people import sign_in
from tests.journeys.system import SKU, Answer, System, free_port
from tests.journeys.test_sold_out import ready, until

Ask = Callable[[System, str], Awaitable[Answer]]


def looks(system: System, order_id: str) -> Awaitable[Answer]:
    return system.call("GET", f"/v1/orders/{order_id}", token=system.shopper)


def follows(system: System, order_id: str) -> Awaitable[Answer]:
    return system.call("GET", f"/v1/orders/{order_id}/stream", token=system.shopper)


def pays(system: System, order_id: str) -> Awaitable[Answer]:
    body = {"provider": "simulator"}
    path = f"/v1/orders/{order_id}/payments"
    return system.call("POST", path, body, token=system.shopper, key=uuid.uuid4().hex)


def looks_at_payments(system: System, order_id: str) -> Awaitable[Answer]:
    return system.call("GET", f"/v1/orders/{order_id}/payments", token=system.shopper)


def cancels(system: System, order_id: str) -> Awaitable[Answer]:
    path, body = f"/v1/orders/{order_id}/cancel", {"reason": "changed_mind"}
    return system.call("POST", path, body, token=system.shopper, key=uuid.uuid4().hex)


def confirms(system: System, order_id: str) -> Awaitable[Answer]:
    path = f"/v1/orders/{order_id}/confirm-receipt"
    return system.call("POST", path, token=system.shopper)


def moves(system: System, order_id: str) -> Awaitable[Answer]:
    body = {"address_id": str(uuid.uuid4())}
    return system.call("PATCH", f"/v1/orders/{order_id}", body, token=system.shopper)


READS: tuple[Ask, ...] = (looks, follows)
ACTS: tuple[Ask, ...] = (pays, looks_at_payments, cancels, confirms, moves)


@pytest_asyncio.fixture
async def web(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[System]:
    """A web worker alone: what it accepts stays in the stream."""
    settings = Settings(
        redis_url=redis_url,
        database_url=database_url,
        data_dir=tmp_path,
        port=free_port(),
        order_wait_seconds=0.1,
        consumer_block_seconds=0.05,
    )
    stopping = asyncio.Event()
    async with build_web(settings) as app:
        owner = asyncio.create_task(serve(app, settings, stopping))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{settings.port}") as http:
            await until(lambda: ready(http))
            async with http.get("/openapi.json") as response:
                contract = Contract(await response.json())
            yield System(settings, http, *await sign_in(settings, SKU), contract)
        stopping.set()
        await owner


async def lose(system: System) -> None:
    async with Redis.from_url(system.settings.required_redis_url()) as redis:
        await redis.flushall()


async def bought(system: System, sale_id: str) -> str:
    accepted = await system.buy(sale_id)
    assert accepted.status == 202, accepted.body
    return str(accepted.body["order_id"])


@pytest.mark.parametrize("ask", [*READS, *ACTS])
async def test_what_the_store_has_lost_is_not_said_to_be_nowhere(web: System, ask: Ask) -> None:
    sale_id = await web.open_sale()
    order_id = await bought(web, sale_id)
    if ask in ACTS:
        early = await ask(web, order_id)
        assert (early.status, early.code) == (425, "order_not_ready")
        assert early.headers["Retry-After"] == "1"
    await lose(web)
    lost = await ask(web, order_id)
    assert (lost.status, lost.code) == (503, "store_unavailable")
    assert int(lost.headers["Retry-After"]) >= 1
    rebuilt = await web.admin("POST", f"sales/{sale_id}/rebuild")
    assert rebuilt.status == 200, rebuilt.body
    gone = await ask(web, order_id)
    assert (gone.status, gone.code) == (404, "order_not_found")


async def test_what_the_database_has_is_told_while_the_store_is_empty(web: System) -> None:
    order_id = await bought(web, await web.open_sale())
    async with build_consumer(web.settings) as consumer:
        stopping = asyncio.Event()
        owner = asyncio.create_task(consumer.run(stopping))

        async def placed() -> bool:
            return bool((await looks(web, order_id)).body["status"] == "pending_payment")

        await until(placed)
        stopping.set()
        await owner
    await lose(web)
    assert (await looks(web, order_id)).status == 200
    assert (await cancels(web, order_id)).status == 200


async def test_an_order_that_never_was_is_nowhere_while_the_store_is_whole(web: System) -> None:
    for open_sales in range(2):
        for ask in (*READS, *ACTS):
            answer = await ask(web, str(uuid.uuid4()))
            assert (answer.status, answer.code) == (404, "order_not_found"), open_sales
        await web.open_sale()


async def test_a_lost_sale_is_never_said_to_be_none(web: System) -> None:
    """Neither to the key of a purchase that stands, nor to its receipt; and it is honoured then."""
    sale_id = await web.open_sale()
    bought = await web.buy(sale_id, key="mine")
    receipt = {name: bought.body[name] for name in SIGNED}

    async def presented() -> Answer:
        path = f"/v1/sales/{sale_id}/receipts"
        return await web.call("POST", path, receipt, token=web.shopper)

    await lose(web)

    async def is_told_to_wait() -> str:
        for answer in (await web.buy(sale_id, key="mine"), await presented()):
            assert (answer.status, answer.code) == (503, "store_unavailable")
        return str(answer.headers["Retry-After"])

    async def forgotten() -> bool:  # the worker reads the sales by the clock
        return await is_told_to_wait() == "2"

    await until(forgotten)
    elsewhere = await web.buy(str(uuid.uuid4()))
    assert (elsewhere.status, elsewhere.code) == (404, "sale_not_found")
    assert (await web.admin("POST", f"sales/{sale_id}/rebuild")).status == 200

    async def honoured() -> bool:
        return (await presented()).status == 202

    await until(honoured)
    again = await web.buy(sale_id, key="mine")
    assert (again.status, again.body["order_id"]) == (202, bought.body["order_id"])
    assert again.body["receipt"] == bought.body["receipt"]
