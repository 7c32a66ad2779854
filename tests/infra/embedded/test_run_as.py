"""PostgreSQL refuses root: the ways around it, and the ordinary user's straight way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import asyncpg
import pytest

from flashorder.infra.embedded import DataFolder, EmbeddedDatabase, run_as
from flashorder.infra.embedded.run_as import RunAs, choose_run_as, hand_over
from tests.infra.embedded.conftest import StartLauncher

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in most containers."""

    async def refused(program: Path, folder: Path) -> bool:
        return False

    monkeypatch.setattr(run_as, "_namespace_works", refused)


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def kept_in(database: EmbeddedDatabase) -> int:
    connection = await asyncpg.connect(database.url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (id integer)")
        await connection.execute("INSERT INTO kept VALUES (1)")
        count: int = await connection.fetchval("SELECT count(*) FROM kept")
        return count
    finally:
        await connection.close()


async def test_an_ordinary_user_needs_no_detour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert await choose_run_as(Path(sys.executable), tmp_path) is RunAs.SELF


@as_root
async def test_without_namespaces_the_database_runs_as_nobody(
    folder: DataFolder, no_namespaces: None
) -> None:
    async with EmbeddedDatabase(folder, durable=False) as database:
        assert await kept_in(database) == 1
        assert user_of(database.pid) == RunAs.NOBODY.owner()[0]


@as_root
async def test_the_files_follow_when_the_machine_changes_its_mind(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(program: Path, folder: Path) -> bool:
        return False

    for turn in (1, 2, 3):
        with monkeypatch.context() as machine:
            if turn == 2:
                machine.setattr(run_as, "_namespace_works", refused)
            async with EmbeddedDatabase(folder, durable=False) as database:
                assert await kept_in(database) == turn


@as_root
async def test_an_ordinary_user_runs_both_servers(
    tmp_path: Path, start_launcher: StartLauncher
) -> None:
    hand_over(tmp_path, RunAs.NOBODY)
    launcher = await start_launcher(tmp_path / "data", run_as=RunAs.NOBODY)
    assert {user_of(pid) for pid in launcher.said["pids"]} == {RunAs.NOBODY.owner()[0]}
    connection = await asyncpg.connect(launcher.said["database_url"])
    await connection.close()
