"""The jobs together: paid orders walk to the doorstep on their own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from flashorder.fulfilment.jobs import jobs, subscriptions
from flashorder.fulfilment.metrics import FulfilmentMetrics
from flashorder.infra.jobs import run_jobs
from flashorder.kernel.errors import FlashorderError
from flashorder.kernel.events import Event, Topic
from tests.fulfilment.conftest import House, SimulatorClient, eventually, listening

ORDERS = 8


@pytest.mark.parametrize(
    "moods",
    [
        {},
        {"duplicate_webhooks": True, "reorder_webhooks": True, "exception_rate": 0.5},
        {"drop_webhook_rate": 0.5, "fail_rate": 0.3},
    ],
    ids=["good", "confused", "forgetful"],
)
async def test_orders_walk_to_the_doorstep(
    house: House, simulator: SimulatorClient, moods: dict[str, float]
) -> None:
    settings = house.settings.model_copy(update={"tracking_silence_seconds": 0.2})
    service = type(house.service)(house.pool, house.carriers, settings)
    metrics = FulfilmentMetrics(CollectorRegistry())
    awaiting = subscriptions(service)[Topic.ORDER_AWAITING_SHIPMENT]

    async def door(request: web.Request) -> web.Response:
        try:
            await service.tracking.receive("simulator", request.headers, await request.read())
        except FlashorderError:
            return web.Response(status=401)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/webhooks/carriers/simulator", door)
    await simulator.control(pace_ms=20, **moods)
    orders = [await house.order() for _ in range(ORDERS)]
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening(app, settings.port))
        working = asyncio.create_task(run_jobs(jobs(service, settings, metrics), stopping))
        for order_id in orders * 2:  # told twice, as an outbox may
            await awaiting(Event(Topic.ORDER_AWAITING_SHIPMENT, order_id))

        async def delivered() -> bool:
            count = "SELECT count(*) FROM shipments WHERE status = 'delivered'"
            return bool(await house.pool.fetchval(count) == ORDERS)

        await eventually(delivered)
        stopping.set()
        await working
    assert (await simulator.ledger())["totals"]["labels"] == ORDERS
    assert len(await house.told(Topic.SHIPMENT_SHIPPED)) == ORDERS
    assert len(await house.told(Topic.SHIPMENT_DELIVERED)) == ORDERS
    await house.check_invariants()


async def test_without_the_autopilot_nobody_touches_a_shipment(house: House) -> None:
    settings = house.settings.model_copy(update={"autopilot": False})
    metrics = FulfilmentMetrics(CollectorRegistry())
    names = {job.name for job in jobs(house.service, settings, metrics)}
    assert names
    assert not any("autopilot" in name for name in names)
