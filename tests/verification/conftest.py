"""A sale in both stores, and the verification over them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from flashorder.cli.verify import run_verification
from flashorder.verification import service
from flashorder.verification.invariants import INVARIANTS
from flashorder.verification.service import Verification
from flashorder.verification.stores import StoreChecks
from tests.inventory.reconciliation.conftest import desk  # noqa: F401
from tests.inventory.reconciliation.desk import Desk
from tests.journeys.system import running_system
from tests.stores import TEMPLATE, SharedStores
from tests.verification.books import Books, Kept, live, opened


@pytest.fixture
def verification(desk: Desk) -> Verification:  # noqa: F811
    checks = StoreChecks(desk.pool, desk.redis, desk.reader, 1)
    return Verification(desk.pool, desk.redis, checks, 1, {"verification": INVARIANTS})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kept(
    shared_stores: SharedStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Kept]:
    await shared_stores.empty_store()
    folder: Path = tmp_path_factory.mktemp("system")
    async with shared_stores.fresh_database(TEMPLATE) as database_url:
        async with running_system(
            shared_stores.store.url, database_url, folder,
            completion_delay_seconds=0, buyer_requests_per_second=1000, buyer_requests_burst=1000,
        ) as system:  # fmt: skip
            sale_id = await live(system)
            assert (await run_verification(system.settings, 15.0)).holds
        async with Redis.from_url(shared_stores.store.url) as redis:
            dump = {key: await redis.dump(key) for key in await redis.keys("*")}
        yield Kept(database_url, dump, uuid.UUID(sale_id))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SECOND_LOOK_SECONDS", 0.0)


@pytest_asyncio.fixture
async def front(kept: Kept, redis_url: str) -> AsyncIterator[Books]:
    """For tests that spoil the store alone."""
    async with opened(kept, redis_url, kept.database_url) as books:
        yield books


@pytest_asyncio.fixture
async def books(kept: Kept, redis_url: str, shared_stores: SharedStores) -> AsyncIterator[Books]:
    """For tests that spoil the database, which takes a moment to copy."""
    name = kept.database_url.rpartition("/")[2]
    async with (
        shared_stores.fresh_database(name) as database_url,
        opened(kept, redis_url, database_url) as books,
    ):
        yield books
