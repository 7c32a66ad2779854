"""What a first visitor finds is made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from flashorder.infra.postgres.pool import connect_postgres
from flashorder.settings import Settings
from flashorder.standalone.demonstration import LOGINS_FILE, prepare_demonstration


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, database_url: str) -> Settings:
    return Settings(data_dir=tmp_path, redis_url=redis_url, database_url=database_url)


async def test_it_is_made_once_and_found_again(settings: Settings) -> None:
    first = await prepare_demonstration(settings)
    assert await prepare_demonstration(settings) == first
    kept = settings.data_dir / LOGINS_FILE
    assert kept.stat().st_mode & 0o777 == 0o600
    async with Redis.from_url(settings.required_redis_url()) as redis:
        stock = await redis.hgetall(f"{{s0}}:sale:{first.sale_id}:stock")
    assert len(stock) == 5
    assert first.sku.encode() in stock


async def test_its_buyer_has_an_address_to_ship_to(settings: Settings) -> None:
    demonstration = await prepare_demonstration(settings)
    await prepare_demonstration(settings)
    pool = await connect_postgres(settings.required_database_url(), connections_max=1)
    rows = await pool.fetch("SELECT email, country FROM addresses JOIN accounts USING (account_id)")
    await pool.close()
    assert [tuple(row) for row in rows] == [(demonstration.logins.buyer.email, "GB")]


async def test_a_new_sale_follows_one_that_has_ended(settings: Settings) -> None:
    first = await prepare_demonstration(settings)
    pool = await connect_postgres(settings.required_database_url(), connections_max=1)
    await pool.execute(
        "UPDATE sales SET starts_at = now() - interval '2 d', ends_at = now() - interval '1 d'"
    )
    await pool.close()
    second = await prepare_demonstration(settings)
    assert second.sale_id != first.sale_id
    assert second.logins == first.logins


async def test_another_data_folder_on_the_same_database_gets_logins_of_its_own(
    settings: Settings, tmp_path: Path
) -> None:
    first = await prepare_demonstration(settings)
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    other.data_dir.mkdir()
    second = await prepare_demonstration(other)
    assert second.sale_id == first.sale_id
    assert second.logins.buyer.email != first.logins.buyer.email
