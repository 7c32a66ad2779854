"""A sale that the store has lost: brought back where the store is ours, told otherwise."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from redis.asyncio import Redis

from flashorder.cli.rebuild import rebuild_sale
from flashorder.kernel.errors import Conflict
from flashorder.settings import Settings
from flashorder.standalone import showing
from flashorder.standalone.demonstration import prepare_demonstration

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, database_url: str) -> Settings:
    return Settings(data_dir=tmp_path, redis_url=redis_url, database_url=database_url)


@pytest.fixture
async def sale_id(settings: Settings) -> uuid.UUID:
    return (await prepare_demonstration(settings)).sale_id


async def lose_the_store(settings: Settings) -> None:
    async with Redis.from_url(settings.required_redis_url()) as redis:
        await redis.flushdb()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "SHOWN_TIMEOUT_SECONDS", 0.1)


async def test_a_lost_sale_is_rebuilt(settings: Settings, sale_id: uuid.UUID) -> None:
    assert not await showing.is_lost(settings, sale_id)
    await lose_the_store(settings)
    assert await showing.is_lost(settings, sale_id)
    told: list[str] = []
    await showing.until_shown(settings, NOBODY, sale_id, rebuild=rebuild_sale, say=told.append)
    assert told[0] == f"the store had lost sale {sale_id}: it was rebuilt from PostgreSQL"
    assert not await showing.is_lost(settings, sale_id)


async def test_the_store_of_others_is_left_to_an_operator(
    settings: Settings, sale_id: uuid.UUID
) -> None:
    await lose_the_store(settings)
    told: list[str] = []
    await showing.until_shown(settings, NOBODY, sale_id, rebuild=None, say=told.append)
    assert told == [f"the store has lost sale {sale_id}: run flashorder rebuild --sale {sale_id}"]
    assert await showing.is_lost(settings, sale_id)


async def test_a_rebuild_that_fails_is_told_and_waited_for_no_longer(
    settings: Settings, sale_id: uuid.UUID
) -> None:
    async def refused(_settings: Settings, _sale_id: uuid.UUID) -> None:
        raise Conflict("not today")

    await lose_the_store(settings)
    told: list[str] = []
    await showing.until_shown(settings, NOBODY, sale_id, rebuild=refused, say=told.append)
    assert len(told) == 1
    assert f"run flashorder rebuild --sale {sale_id}" in told[0]
    assert "not today" in told[0]


async def test_a_sale_that_nobody_shows_is_waited_for_within_bounds(
    settings: Settings, sale_id: uuid.UUID
) -> None:
    told: list[str] = []
    await showing.until_shown(settings, NOBODY, sale_id, rebuild=rebuild_sale, say=told.append)
    assert told == [f"sale {sale_id} is not shown yet: see flashorder verify"]
