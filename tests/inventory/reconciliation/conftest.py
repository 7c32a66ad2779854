"""A sale in both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from flashorder.infra.postgres.pool import connect_postgres
from flashorder.infra.redis.connection import connect_redis
from tests.inventory.reconciliation.desk import Desk


@pytest_asyncio.fixture
async def desk(database_url: str, redis_url: str) -> AsyncIterator[Desk]:
    pool = await connect_postgres(database_url, connections_max=8)
    redis = connect_redis(redis_url)
    desk = Desk(pool, redis)
    await desk.open()
    yield desk
    await redis.aclose()
    await pool.close()
