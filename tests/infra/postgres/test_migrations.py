"""Migrations: once each, from several processes at once, and never an edited one."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from flashorder.infra.postgres.migrations import migrate, pending_migrations, shipped_migrations
from flashorder.kernel.errors import DatabaseUnavailable, Misconfigured


async def test_four_starters_apply_each_migration_once(empty_database_url: str) -> None:
    assert await pending_migrations(empty_database_url) == shipped_migrations()
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    done = [migration.version for each in applied for migration in each]
    assert done == [migration.version for migration in shipped_migrations()]
    assert await pending_migrations(empty_database_url) == []
    assert await migrate(empty_database_url) == []


async def test_an_edited_migration_is_noticed(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE schema_migrations SET checksum = 'x' WHERE version = 3")
    await connection.close()
    with pytest.raises(Misconfigured, match="0003"):
        await migrate(database_url)


async def test_a_newer_database_is_left_alone(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, 'future', 'x')")
    await connection.close()
    with pytest.raises(Misconfigured, match="9999"):
        await migrate(database_url)


async def test_a_database_that_is_away_is_one_error() -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate("postgresql://nobody@127.0.0.1:1/nothing")


def test_numbers_follow_one_another_and_names_tell_what() -> None:
    versions = [migration.version for migration in shipped_migrations()]
    assert versions == list(range(1, len(versions) + 1))
    assert all(migration.name.replace("_", "").isalpha() for migration in shipped_migrations())
