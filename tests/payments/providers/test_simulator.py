"""The simulator's adapter against the simulator as a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest_asyncio
from aiohttp import web

from flashorder.infra.embedded.ports import free_port
from flashorder.payments.providers.port import PaymentProvider, PaymentReport
from flashorder.payments.providers.registry import open_providers
from tests.payments.conformance import ProviderConformance
from tests.payments.house import Simulator, payment_settings, until


@dataclass
class SimulatorHarness:
    provider: PaymentProvider
    simulator: Simulator
    received: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def approve(self, report: PaymentReport) -> None:
        assert await self.simulator.decide(report.action.url, "approve") == 200

    async def decline(self, report: PaymentReport) -> None:
        assert await self.simulator.decide(report.action.url, "decline") == 200

    async def webhooks(self, count: int) -> list[tuple[Mapping[str, str], bytes]]:
        async def there() -> bool:
            return len(self.received) >= count

        await until(there)
        return self.received[:count]

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        await self.simulator.stop()
        yield
        await self.simulator.start()

    @asynccontextmanager
    async def slow(self) -> AsyncIterator[None]:
        await self.simulator.control(latency_ms=750)
        yield
        await self.simulator.control(latency_ms=0)

    async def hear(self, request: web.Request) -> web.Response:
        self.received.append((dict(request.headers), await request.read()))
        return web.Response()


@pytest_asyncio.fixture
async def harness(tmp_path: Path, client: aiohttp.ClientSession) -> AsyncIterator[SimulatorHarness]:
    port = free_port()
    settings = payment_settings(
        tmp_path, provider_timeout_seconds=0.5, service_url=f"http://127.0.0.1:{port}"
    )
    async with open_providers(settings) as providers:
        harness = SimulatorHarness(providers["simulator"], Simulator(settings, client))
        listener = web.Application()
        listener.router.add_post("/v1/webhooks/payments/simulator", harness.hear)
        runner = web.AppRunner(listener)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await harness.simulator.start()
        yield harness
        await harness.simulator.stop()
        await runner.cleanup()


class TestSimulatorProvider(ProviderConformance):
    """Passes the suite."""
