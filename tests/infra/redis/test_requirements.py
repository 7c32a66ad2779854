"""A store that would lose or evict what it acknowledged is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from flashorder.infra.findings import Finding, Level
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.requirements import check_store, require_store
from flashorder.kernel.errors import Misconfigured, StoreUnavailable


@pytest_asyncio.fixture
async def store(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_redis(redis_url)
    before = await client.config_get("appendfsync", "maxmemory-policy", "maxmemory", "appendonly")
    yield client
    await client.config_set("appendonly", "yes")
    for name, value in before.items():
        await client.config_set(name, value)
    await client.aclose()


async def found(store: Redis) -> dict[str, Finding]:
    return {each.name: each for each in await check_store(store)}


async def test_the_embedded_store_is_as_promised(store: Redis) -> None:
    assert {each.level for each in await check_store(store)} == {Level.OK}
    await require_store(store)


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("appendfsync", "everysec", "appendfsync"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy"),
        ("appendonly", "no", "append-only file"),
    ],
)
async def test_a_setting_that_loses_data_is_an_error(
    store: Redis, setting: str, value: str, name: str
) -> None:
    await store.config_set(setting, value)
    finding = (await found(store))[name]
    assert finding.level is Level.ERROR
    assert "CONFIG SET" in finding.mend
    with pytest.raises(Misconfigured):
        await require_store(store)


async def test_memory_without_a_bound_is_a_warning(store: Redis) -> None:
    await store.config_set("maxmemory", 0)
    assert (await found(store))["memory"].level is Level.WARNING
    await require_store(store)


async def test_a_store_that_is_away_says_so() -> None:
    client = connect_redis("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable):
        await check_store(client)
    await client.aclose()
