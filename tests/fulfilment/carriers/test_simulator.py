"""The adapter of the simulated carrier, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import web
from standardwebhooks import Webhook

from flashorder.fulfilment.carriers.port import CarrierRefused, Consignment
from flashorder.fulfilment.carriers.simulator import SimulatedCarrier
from flashorder.fulfilment.model import Parcel
from flashorder.fulfilment.simulator import build_carrier_simulator
from flashorder.kernel.clock import utc_now
from flashorder.kernel.errors import ProviderUnavailable
from flashorder.settings import Settings
from tests.fulfilment.conformance import Bench, CarrierConformance, Sent, consignment
from tests.fulfilment.conftest import SimulatorClient, listening


@dataclass
class SimulatorBench:
    """The simulator as a real server, and a door that its webhooks come to."""

    settings: Settings
    carrier: SimulatedCarrier
    simulator: SimulatorClient
    serving: AsyncExitStack
    sent: list[Sent] = field(default_factory=list)
    refused_parcel: Parcel = field(default_factory=lambda: Parcel(weight_grams=900_000))

    async def receive(self, request: web.Request) -> web.Response:
        headers: Mapping[str, str] = dict(request.headers)
        self.sent.append((headers, await request.read()))
        return web.Response()

    async def deliver(self) -> None:
        await self.simulator.control(pace_ms=5)

    async def webhooks(self, at_least: int) -> list[Sent]:
        async with asyncio.timeout(10):
            while len(self.sent) < at_least:
                await asyncio.sleep(0.01)
        return list(self.sent)

    def signed(self, body: bytes) -> Sent:
        now = utc_now()
        signer = Webhook(self.settings.derived_key("webhooks:carriers:simulator"))
        return {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signer.sign("evt_1", now, body.decode()),
        }, body

    async def disappear(self) -> None:
        await self.serving.aclose()


@pytest_asyncio.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    url = settings.carrier_simulator_url
    async with AsyncExitStack() as stack:
        app = build_carrier_simulator(settings)
        serving = await stack.enter_async_context(AsyncExitStack())
        await serving.enter_async_context(listening(app, int(url.rsplit(":", 1)[1])))
        client = SimulatorClient(url)
        await client.control(pace_ms=3_600_000)
        made = SimulatorBench(settings, SimulatedCarrier.of(settings), client, serving)
        stack.push_async_callback(made.carrier.close)
        door = web.Application()
        door.router.add_post("/v1/webhooks/carriers/simulator", made.receive)
        await stack.enter_async_context(listening(door, settings.port))
        yield made


class TestSimulatedCarrier(CarrierConformance):
    """The simulated carrier is one of the carriers."""


async def test_a_carrier_that_is_slow_is_unavailable_in_time(
    settings: Settings, simulator: SimulatorClient
) -> None:
    impatient = SimulatedCarrier.of(settings.model_copy(update={"provider_timeout_seconds": 0.1}))
    await simulator.control(latency_ms=5_000)
    with pytest.raises(ProviderUnavailable):
        await impatient.create_label(consignment())
    await impatient.close()


async def test_another_deployment_s_key_opens_nothing(
    settings: Settings, simulator: SimulatorClient
) -> None:
    stranger = SimulatedCarrier(
        settings.carrier_simulator_url, api_key="x", webhook_key=b"x" * 32, timeout_seconds=2.0
    )
    with pytest.raises(ProviderUnavailable):
        await stranger.create_label(consignment())
    assert (await simulator.ledger())["labels"] == []
    await stranger.close()


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        *((status, ProviderUnavailable) for status in (302, 401, 403, 408, 425, 429, 500, 503)),
        *((status, CarrierRefused) for status in (400, 404, 409, 422)),
    ],
)
async def test_only_what_is_about_the_shipment_is_a_refusal(
    settings: Settings, status: int, failure: type[Exception]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"code": "no"}, status=status)

    app = web.Application()
    app.router.add_post("/v1/labels", answer)
    carrier = SimulatedCarrier.of(settings)
    async with listening(app, int(settings.carrier_simulator_url.rsplit(":", 1)[1])):
        with pytest.raises(failure):
            await carrier.create_label(consignment())
    await carrier.close()


async def test_the_same_key_for_another_box_is_refused(bench: Bench) -> None:
    first = consignment()
    await bench.carrier.create_label(first)
    with pytest.raises(CarrierRefused):
        await bench.carrier.create_label(Consignment(first.shipment_id, [Parcel(1)], None))
