"""A pool on a fresh database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from flashorder.infra.postgres.pool import Pool, connect_postgres


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await connect_postgres(database_url, connections_max=8)
    yield pool
    await pool.close()
