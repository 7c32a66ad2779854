"""The embedded store keeps what it has acknowledged, whatever happens to it."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from flashorder.infra.embedded import DataFolder, EmbeddedStore, running_endpoints
from flashorder.infra.embedded.errors import PortTaken, ServerStartFailed


async def put(url: str, value: str) -> None:
    async with Redis.from_url(url) as client:
        await client.set("order", value)


async def got(url: str) -> bytes | None:
    async with Redis.from_url(url) as client:
        value: bytes | None = await client.get("order")
        return value


async def test_it_promises_what_the_design_asks_of_a_store(folder: DataFolder) -> None:
    async with (
        EmbeddedStore(folder, maxmemory="64mb") as store,
        Redis.from_url(store.url, decode_responses=True) as client,
    ):
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory": str(64 * 1024 * 1024),
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
        }
        assert await client.config_get(*wanted) == wanted


async def test_its_allocator_keeps_what_a_batch_frees_unless_told_otherwise(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert "glibc.malloc.tcache_count=4096" in await tunables(folder)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=7")
    assert await tunables(folder) == "glibc.malloc.tcache_count=7"


async def tunables(folder: DataFolder) -> str:
    async with EmbeddedStore(folder) as store:
        assert store.pid is not None
        return environment_of(store.pid)["GLIBC_TUNABLES"]


def environment_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


async def test_both_addresses_lead_to_it_and_both_want_the_password(folder: DataFolder) -> None:
    async with EmbeddedStore(folder) as store:
        await put(store.socket_url, "taken")
        assert await got(store.url) == b"taken"
        no_retry = Retry(NoBackoff(), 0)
        async with Redis(host="127.0.0.1", port=store.port or 0, retry=no_retry) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()
        running = running_endpoints(folder.path)
        assert running is not None
        assert running.redis_url == store.url
    for name in ("password", "valkey.conf"):
        assert stat.S_IMODE((folder.store_folder / name).stat().st_mode) == 0o600


async def test_a_restart_keeps_data_and_address(folder: DataFolder) -> None:
    async with EmbeddedStore(folder) as store:
        await put(store.url, "taken")
    async with EmbeddedStore(folder) as again:
        assert again.url == store.url
        assert await got(again.url) == b"taken"


async def test_start_and_stop_are_idempotent(folder: DataFolder) -> None:
    store = EmbeddedStore(folder)
    await store.stop()
    await store.start()
    pid = store.pid
    await store.start()
    assert store.pid == pid
    await store.stop()
    await store.stop()
    assert not store.running


async def test_a_killed_store_comes_back_although_its_last_write_is_torn(
    folder: DataFolder,
) -> None:
    store = EmbeddedStore(folder)
    await store.start()
    await put(store.url, "taken")
    os.kill(store.pid, signal.SIGKILL)
    assert await store.wait() == -signal.SIGKILL
    assert not store.running
    (log,) = (folder.store_folder / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$5\r\norder\r\n$9\r\nhalf-wri")
    await store.start()
    assert await got(store.url) == b"taken"
    await store.stop()


async def test_a_stale_pid_file_is_no_obstacle(folder: DataFolder) -> None:
    (folder.store_folder / "valkey.pid").write_text(f"{os.getppid()}\n")
    async with EmbeddedStore(folder) as store:
        assert (folder.store_folder / "valkey.pid").read_text() == f"{store.pid}\n"
    assert not (folder.store_folder / "valkey.pid").exists()


async def test_a_taken_port_is_told_as_such(folder: DataFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} .* taken by another process"):
            await EmbeddedStore(folder, port=port).start()
    async with EmbeddedStore(folder, port=port) as store:
        assert store.port == port


async def test_the_last_port_is_left_when_another_has_taken_it(folder: DataFolder) -> None:
    async with EmbeddedStore(folder) as store:
        port = store.port
    with socket.create_server(("127.0.0.1", port)):
        async with EmbeddedStore(folder) as elsewhere:
            assert elsewhere.port != port


async def test_a_failed_start_shows_the_server_s_own_words(folder: DataFolder) -> None:
    with pytest.raises(ServerStartFailed, match="argument must be a memory value") as failure:
        await EmbeddedStore(folder, maxmemory="plenty").start()
    assert "exit code 1" in failure.value.reason


async def test_a_start_that_takes_too_long_leaves_no_process(folder: DataFolder) -> None:
    store = EmbeddedStore(folder, start_timeout_seconds=0)
    with pytest.raises(ServerStartFailed, match="no answer within 0 s"):
        await store.start()
    assert not store.running


async def test_a_very_long_path_is_no_obstacle(tmp_path: Path) -> None:
    with DataFolder(tmp_path / ("d" * 80) / 'with "quotes" and spaces') as folder:
        async with EmbeddedStore(folder) as store:
            await put(store.socket_url, "taken")
            assert await got(store.url) == b"taken"
