"""Both stores, a sale in them, and the order desk."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis.connection import connect_redis
from tests.consumer.shop import Shop
from tests.orders.desk import Desk


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await connect_postgres(database_url, connections_max=8)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with connect_redis(redis_url) as client:
        yield client


@pytest_asyncio.fixture
async def shop(pool: Pool, redis: Redis) -> Shop:
    return await Shop.open(pool, redis)


@pytest_asyncio.fixture
async def desk(shop: Shop) -> Desk:
    return Desk(shop)
