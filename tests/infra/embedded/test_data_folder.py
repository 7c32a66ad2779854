"""The data folder: one owner, private files, half-made things."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from flashorder.infra.embedded import DataFolder, running_endpoints
from flashorder.infra.embedded.data_folder import LOG_BYTES_MAX, kept_password
from flashorder.infra.embedded.errors import (
    DatabaseVersionMismatch,
    DataFolderInUse,
    DataFolderUnusable,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_has_one_owner(folder: DataFolder) -> None:
    second = DataFolder(folder.path)
    with pytest.raises(DataFolderInUse, match=r"pid \d+"):
        second.open()
    folder.close()
    second.open()
    second.close()


def test_open_and_close_are_idempotent(folder: DataFolder) -> None:
    folder.open()
    folder.close()
    folder.close()


def test_the_folder_is_private(folder: DataFolder) -> None:
    assert mode(folder.path) == 0o700


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderUnusable, match="FLASHORDER_DATA_DIR"):
        DataFolder(tmp_path / "file" / "data").open()


def test_addresses_are_private_and_seen_only_while_a_launcher_runs(folder: DataFolder) -> None:
    folder.record_endpoints(redis_url="redis://:secret@127.0.0.1:1/0", redis_port=1)
    folder.record_endpoints(database_port=2)
    assert mode(folder.path / "endpoints.json") == 0o600
    running = running_endpoints(folder.path)
    assert running is not None
    assert (running.redis_port, running.database_port) == (1, 2)
    folder.close()
    assert running_endpoints(folder.path) is None


def test_nobody_runs_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert running_endpoints(tmp_path / "nowhere") is None


def test_damaged_addresses_are_no_addresses(folder: DataFolder) -> None:
    (folder.path / "endpoints.json").write_text('{"redis_port": ')
    assert folder.endpoints().redis_port is None


def test_a_password_is_made_once(tmp_path: Path) -> None:
    first = kept_password(tmp_path / "password")
    assert len(first) >= 32
    assert mode(tmp_path / "password") == 0o600
    assert kept_password(tmp_path / "password") == first


def test_a_large_log_makes_room_at_the_next_start(folder: DataFolder) -> None:
    log = folder.fresh_log("valkey")
    log.write_bytes(b"x" * (LOG_BYTES_MAX + 1))
    assert folder.fresh_log("valkey") == log
    assert not log.exists()
    assert [each.name for each in folder.log_folder.iterdir()] == ["valkey.log.1"]


def test_a_long_path_gets_a_short_socket_folder(tmp_path: Path) -> None:
    deep = DataFolder(tmp_path / ("d" * 60) / ("e" * 60))
    short = deep.socket_folder(deep.store_folder, "valkey.sock")
    assert len(str(short / "valkey.sock")) < len(tempfile.gettempdir()) + 56
    assert mode(short) == 0o700
    assert deep.socket_folder(deep.store_folder, "valkey.sock") == short
    deep.close()
    assert not short.exists()


@pytest.mark.parametrize("trap", ["open to all", "a link elsewhere"])
def test_a_socket_folder_that_others_can_enter_is_refused(tmp_path: Path, trap: str) -> None:
    deep = DataFolder(tmp_path / ("d" * 60) / ("e" * 60))
    short = deep.socket_folder(deep.store_folder, "valkey.sock")
    try:
        if trap == "open to all":
            short.chmod(0o777)
        else:
            short.rmdir()
            short.symlink_to(tmp_path)
        with pytest.raises(DataFolderUnusable, match="not ours alone"):
            deep.socket_folder(deep.store_folder, "valkey.sock")
    finally:
        short.unlink() if short.is_symlink() else short.rmdir()


def test_a_database_of_another_major_version_is_refused(folder: DataFolder) -> None:
    (folder.database_folder / "cluster").mkdir(parents=True)
    (folder.database_folder / "cluster" / "PG_VERSION").write_text("13\n")
    with pytest.raises(DatabaseVersionMismatch, match="Install PostgreSQL 13"):
        folder.require_database_major(18)
    folder.require_database_major(13)


def test_a_folder_that_initdb_did_not_make_is_left_alone(folder: DataFolder) -> None:
    folder.database_folder.mkdir()
    (folder.database_folder / "thesis.txt").touch()
    with pytest.raises(DataFolderUnusable, match="not a database folder of ours") as told:
        folder.database_major()
    assert f"move {folder.path} away to begin anew" in str(told.value)
    assert (folder.database_folder / "thesis.txt").exists()
