"""Fixtures of the payments' tests: see ``house``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.payments.providers.registry import ProviderRegistry, open_providers
from flashorder.payments.routes import endpoints
from flashorder.payments.service import PaymentService
from flashorder.settings import Settings
from tests.infra.http.serving import Served, served
from tests.payments.house import House, Simulator, payment_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return payment_settings(tmp_path)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await connect_postgres(database_url)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def providers(settings: Settings) -> AsyncIterator[ProviderRegistry]:
    async with open_providers(settings) as registry:
        yield registry


@pytest.fixture
def house(pool: Pool, settings: Settings, providers: ProviderRegistry) -> House:
    return House(pool, settings, providers, PaymentService(pool, providers, settings))


@pytest_asyncio.fixture
async def web_role(house: House, settings: Settings) -> AsyncIterator[Served]:
    """The calls of this room on a real server."""
    async with served(
        endpoints(house.service), settings=settings, idempotency=IdempotencyStore(house.pool)
    ) as server:
        yield server


@pytest_asyncio.fixture
async def simulator(
    web_role: Served, settings: Settings, client: aiohttp.ClientSession
) -> AsyncIterator[Simulator]:
    """A simulator whose webhooks arrive at ``web_role``."""
    simulator = Simulator(settings.model_copy(update={"service_url": web_role.url}), client)
    await simulator.start()
    yield simulator
    await simulator.stop()
