"""Sold out over HTTP: what a worker says by itself is what the store would have said."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from flashorder.app.web import build_web
from flashorder.infra.http.server import serve
from tests.journeys.system import SKU, Answer, System, free_port

REFUSED = "flashorder_sold_out_refused_total"


@asynccontextmanager
async def second_worker(system: System) -> AsyncIterator[System]:
    """Another web worker on the same stores, as a client of it sees the system."""
    settings = system.settings.model_copy(update={"port": free_port()})
    stopping = asyncio.Event()
    async with build_web(settings) as app:
        owner = asyncio.create_task(serve(app, settings, stopping))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{settings.port}") as http:
            other = System(settings, http, system.operator, system.shopper, system.contract)
            await until(lambda: ready(http))
            yield other
        stopping.set()
        await owner


async def ready(http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get("/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def until(holds: Callable[[], Awaitable[bool]], within_seconds: float = 20.0) -> None:
    async with asyncio.timeout(within_seconds):
        while not await holds():
            await asyncio.sleep(0.005)


async def refused_by_itself(system: System) -> float:
    """How many the worker has refused so far without asking the store."""
    async with system.http.get("/metrics") as response:
        text = await response.text()
    samples = [line for line in text.splitlines() if line.startswith(REFUSED)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in samples)


async def refusing(system: System, sale_id: str) -> Answer:
    """Ask until the worker refuses by itself; its answer is the store's, word for word."""
    answers: list[Answer] = []
    before = await refused_by_itself(system)

    async def refused() -> bool:
        answers.append(await system.buy(sale_id))
        return await refused_by_itself(system) > before

    await until(refused)
    first, last = answers[0], answers[-1]
    assert (last.status, last.code) == (409, "sold_out")
    different = {"trace_id"}
    assert {name: value for name, value in last.body.items() if name not in different} == {
        name: value for name, value in first.body.items() if name not in different
    }
    assert set(last.headers) == set(first.headers)
    return last


async def accepted(system: System, sale_id: str, key: str) -> bool:
    return (await system.buy(sale_id, key=key)).status == 202


async def test_a_key_that_was_accepted_is_replayed_by_every_worker(system: System) -> None:
    sale_id, key = await system.open_sale(quantity=1, limit=5), uuid.uuid4().hex
    first = await system.buy(sale_id, key=key)
    assert first.status == 202
    async with second_worker(system) as other:
        for worker in (system, other):
            answer = await refusing(worker, sale_id)
            assert answer.body["detail"] == "sold out: nothing is left"
            for _ in range(20):
                again = await worker.buy(sale_id, key=key)
                assert (again.status, again.body) == (202, first.body)
            reused = await worker.buy(sale_id, 2, key=key)
            assert (reused.status, reused.code) == (422, "idempotency_key_reused")
            assert (await worker.buy(sale_id, 6)).code == "limit_reached"


async def test_units_that_come_back_are_sold_by_every_worker(system: System) -> None:
    sale_id = await system.open_sale(quantity=1, limit=5)
    order_id = (await system.buy(sale_id)).body["order_id"]
    async with second_worker(system) as other:
        await refusing(other, sale_id)
        await refusing(system, sale_id)
        await system.until(order_id, lambda order: order["status"] == "pending_payment")
        cancelled = await system.call(
            "POST", f"/v1/orders/{order_id}/cancel", {"reason": "changed_mind"},
            token=system.shopper, key=uuid.uuid4().hex,
        )  # fmt: skip
        assert cancelled.status == 200, cancelled.body
        key = uuid.uuid4().hex
        await until(lambda: accepted(other, sale_id, key))
        # At once, in the worker that did not take the order.
        assert (await system.buy(sale_id, key=key)).status == 202
        await refusing(system, sale_id)
        assert (await system.buy(sale_id, key=key)).status == 202


async def test_a_top_up_is_sold(system: System) -> None:
    sale_id = await system.open_sale(quantity=1, limit=5)
    assert (await system.buy(sale_id)).status == 202
    await refusing(system, sale_id)
    added = await system.admin("POST", f"sales/{sale_id}/top-up", {"sku": SKU, "quantity": 1})
    assert added.status < 300, added.body
    key = uuid.uuid4().hex
    await until(lambda: accepted(system, sale_id, key))


@pytest.mark.parametrize(("step", "status"), [("pause", 423), ("close", 410)])
async def test_what_no_longer_sells_says_so(system: System, step: str, status: int) -> None:
    sale_id = await system.open_sale(quantity=1, limit=5)
    assert (await system.buy(sale_id)).status == 202
    await refusing(system, sale_id)
    assert (await system.admin("POST", f"sales/{sale_id}/{step}")).status == 200

    async def told() -> bool:
        return (await system.buy(sale_id)).status == status

    await until(told)
