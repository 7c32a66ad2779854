"""The embedded database: made whole, kept across restarts and crashes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
from pathlib import Path

import asyncpg
import pytest

from flashorder.infra.embedded import DataFolder, EmbeddedDatabase
from flashorder.infra.embedded.errors import (
    DatabaseVersionMismatch,
    EmbeddedServerError,
    PortTaken,
    ServerStartFailed,
)


def hasty(folder: DataFolder, **options: object) -> EmbeddedDatabase:
    """A database that does not wait for the disk: nobody cuts the power here."""
    return EmbeddedDatabase(folder, durable=False, settings={"fsync": "off"}, **options)


async def asked(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_new_cluster_is_utf8_durable_and_wants_the_password(folder: DataFolder) -> None:
    async with EmbeddedDatabase(folder, durable=False) as database:
        assert await asked(database.url, "SHOW server_encoding") == "UTF8"
        collation = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        assert await asked(database.url, collation) == "C"
        assert await asked(database.url, "SHOW fsync") == "on"
        assert await asked(database.url, "SHOW listen_addresses") == "127.0.0.1"
        assert await asked(database.url, "SHOW timezone") == "UTC"
        assert await asked(database.url, "SELECT current_database()") == "flashorder"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host="127.0.0.1", port=database.port, user="flashorder", password="wrong"
            )
    password = folder.database_folder / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert not folder.unfinished_database_folder.exists()


async def test_a_restart_keeps_data_and_address(folder: DataFolder) -> None:
    async with hasty(folder) as database:
        await asked(database.url, "CREATE TABLE kept AS SELECT 7 AS seven")
    async with hasty(folder) as again:
        assert again.url == database.url
        assert await asked(again.url, "SELECT seven FROM kept") == 7


async def test_start_and_stop_are_idempotent(folder: DataFolder) -> None:
    database = hasty(folder)
    await database.stop()
    await database.start()
    pid = database.pid
    await database.start()
    assert database.pid == pid
    await database.stop()
    await database.stop()
    assert not database.running


async def test_a_killed_database_recovers_although_its_pid_is_somebody_else_now(
    folder: DataFolder,
) -> None:
    database = EmbeddedDatabase(folder, durable=False)
    await database.start()
    await asked(database.url, "CREATE TABLE kept AS SELECT 7 AS seven")
    os.kill(database.pid, signal.SIGKILL)
    await database.wait()
    stale = folder.database_folder / "cluster" / "postmaster.pid"
    _, *rest = stale.read_text().splitlines(keepends=True)
    stale.write_text("".join((f"{os.getppid()}\n", *rest)))
    await database.start()
    assert await asked(database.url, "SELECT seven FROM kept") == 7
    await database.stop()


async def test_a_pid_file_that_was_cut_off_is_no_obstacle(folder: DataFolder) -> None:
    async with hasty(folder):
        pass
    (folder.database_folder / "cluster" / "postmaster.pid").touch()
    async with hasty(folder) as database:
        assert database.running


async def test_a_half_made_cluster_is_made_anew(folder: DataFolder) -> None:
    (folder.unfinished_database_folder / "cluster" / "base").mkdir(parents=True)
    (folder.unfinished_database_folder / "cluster" / "PG_VERSION").write_text("18\n")
    async with hasty(folder) as database:
        assert await asked(database.url, "SELECT 1") == 1
    assert not folder.unfinished_database_folder.exists()


@pytest.mark.parametrize("lost", ["cluster/global", "cluster/PG_VERSION", "password"])
async def test_a_damaged_database_is_told_with_the_way_out(folder: DataFolder, lost: str) -> None:
    async with hasty(folder):
        pass
    victim = folder.database_folder / lost
    victim.rename(folder.path / "elsewhere")
    with pytest.raises(EmbeddedServerError) as told:
        await hasty(folder).start()
    assert f"move {folder.path} away to begin anew" in str(told.value)
    assert f"Restore {folder.database_folder}" in str(told.value)


async def test_files_of_another_major_version_are_left_alone(folder: DataFolder) -> None:
    version = folder.database_folder / "cluster" / "PG_VERSION"
    version.parent.mkdir(parents=True)
    version.write_text("9\n")
    with pytest.raises(DatabaseVersionMismatch, match="FLASHORDER_DATA_DIR to start afresh"):
        await hasty(folder).start()
    assert [each.name for each in version.parent.iterdir()] == ["PG_VERSION"]


async def test_a_taken_port_is_told_as_such(folder: DataFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} .* taken by another process"):
            await hasty(folder, port=port).start()


async def test_a_failed_start_shows_the_server_s_own_words(folder: DataFolder) -> None:
    database = EmbeddedDatabase(folder, durable=False, settings={"no_such_setting": "on"})
    with pytest.raises(ServerStartFailed, match="unrecognized configuration parameter"):
        await database.start()
    assert not database.running


async def test_a_failed_initdb_leaves_nothing_that_looks_whole(
    folder: DataFolder, tmp_path: Path
) -> None:
    async with hasty(folder) as database:
        binaries = database.binaries
    assert binaries is not None
    shutil.rmtree(folder.database_folder)
    lonely = tmp_path / "initdb"
    shutil.copy(binaries.initdb, lonely)
    with pytest.raises(ServerStartFailed, match="initdb did not start"):
        await hasty(folder, binaries=type(binaries)(binaries.postgres, lonely)).start()
    assert not folder.database_folder.exists()
    async with hasty(folder) as database:
        assert database.running


async def test_a_very_long_path_is_no_obstacle(tmp_path: Path) -> None:
    with DataFolder(tmp_path / ("d" * 80) / 'with "quotes", and commas') as folder:
        async with hasty(folder) as database:
            assert await asked(database.url, "SELECT 1") == 1
