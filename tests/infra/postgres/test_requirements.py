"""What the doctor says of a database."""

from __future__ import annotations

import pytest

from flashorder.infra.findings import Level
from flashorder.infra.postgres.requirements import check_database
from flashorder.kernel.errors import DatabaseUnavailable


async def test_the_tests_own_database_is_seen_to_be_hasty(database_url: str) -> None:
    found = {each.name: each for each in await check_database(database_url, connections_wanted=5)}
    assert found["version"].level is Level.OK
    assert found["migrations"].level is Level.OK
    assert found["encoding"].level is Level.OK
    for hasty in ("fsync", "full_page_writes", "synchronous_commit"):
        assert found[hasty].level is Level.ERROR
        assert found[hasty].mend


async def test_pools_larger_than_the_database_are_an_error(database_url: str) -> None:
    found = await check_database(database_url, connections_wanted=10_000)
    (connections,) = (each for each in found if each.name == "connections")
    assert connections.level is Level.ERROR


async def test_missing_migrations_are_an_error(empty_database_url: str) -> None:
    found = await check_database(empty_database_url, connections_wanted=5)
    (migrations,) = (each for each in found if each.name == "migrations")
    assert migrations.level is Level.ERROR
    assert "0009_reconciliation" in migrations.detail


async def test_a_database_that_is_away_says_so() -> None:
    with pytest.raises(DatabaseUnavailable):
        await check_database("postgresql://nobody@127.0.0.1:1/none", connections_wanted=5)
