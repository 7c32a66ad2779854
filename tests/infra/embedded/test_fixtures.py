"""The fixtures that all other tests stand on."""

from __future__ import annotations

import asyncpg
import pytest
from redis.asyncio import Redis

from tests.stores import BreakableStores


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_finds_the_store_empty(redis_url: str, turn: int) -> None:
    async with Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0, turn
        await client.set("left", "behind")


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_gets_a_database_of_its_own(database_url: str, turn: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('left_behind')") is None, turn
        await connection.execute("CREATE TABLE left_behind ()")
        assert await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None
    finally:
        await connection.close()


async def test_the_empty_database_has_no_schema(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert await connection.fetchval(tables) == 0
    finally:
        await connection.close()


async def test_a_broken_store_comes_back_with_its_data(stores: BreakableStores) -> None:
    async with Redis.from_url(stores.redis_url) as client:
        await client.set("order", "taken")
    await stores.store.kill()
    await stores.store.start()
    async with Redis.from_url(stores.redis_url) as client:
        assert await client.get("order") == b"taken"


async def test_stores_that_were_left_paused_can_be_stopped(stores: BreakableStores) -> None:
    stores.store.pause()
    stores.database.pause()
    await stores.stop()
    assert not stores.store.server.running
    assert not stores.database.server.running


async def test_a_paused_database_does_not_answer_and_goes_on(stores: BreakableStores) -> None:
    connection = await asyncpg.connect(stores.database_url)
    stores.database.pause()
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT 1", timeout=0.2)
    stores.database.resume()
    await connection.close()
    connection = await asyncpg.connect(stores.database_url)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
