"""A service on a database of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from flashorder.accounts.service import AccountService
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.settings import Settings
from tests.infra.http.serving import make_settings


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to the test's database."""
    async with await connect_postgres(database_url) as connections:
        yield connections


@pytest.fixture
def settings() -> Settings:
    """Settings with a fixed secret."""
    return make_settings()


@pytest.fixture
def authenticator(settings: Settings) -> Authenticator:
    """Reads the tokens that the service signs."""
    return Authenticator.of(settings)


@pytest_asyncio.fixture
async def service(
    pool: Pool, settings: Settings, authenticator: Authenticator
) -> AsyncIterator[AccountService]:
    """The service under test."""
    accounts = AccountService(pool, settings, authenticator)
    yield accounts
    accounts.close()
