"""Several workers on one port: killed, failing at the start, orphaned, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from flashorder.infra.http.server import reserve_port
from flashorder.infra.http.workers import Workers
from flashorder.kernel.errors import FlashorderError, Misconfigured, Unavailable

MODULE = "tests.infra.http.worker_process"
COUNT = 2


class Group:
    """Workers that are running, and what was told of them."""

    def __init__(self, port: int, **environment: str) -> None:
        self.port = port
        self.told: asyncio.Queue[list[int]] = asyncio.Queue()
        self.stopping = asyncio.Event()
        self.workers = Workers(
            COUNT,
            lambda index: (
                [sys.executable, "-m", MODULE, str(port), str(os.getpid())], environment
            ),
            drain_timeout_seconds=2.0,
            on_change=self.told.put_nowait,
        )  # fmt: skip

    async def next_pids(self) -> list[int]:
        return await asyncio.wait_for(self.told.get(), 15)

    async def answering(self) -> int:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{self.port}/who") as answer,
        ):
            pid: int = (await answer.json())["pid"]
            return pid


@asynccontextmanager
async def group() -> AsyncIterator[Group]:
    with reserve_port("127.0.0.1", 0) as holder:
        running = Group(holder.getsockname()[1])
        task = asyncio.create_task(running.workers.run(running.stopping))
        try:
            yield running
        finally:
            running.stopping.set()
            await asyncio.wait_for(task, 15)


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def test_all_share_the_port_and_a_killed_one_comes_back() -> None:
    async with group() as running:
        pids = await running.next_pids()
        assert len(set(pids)) == COUNT
        assert {await running.answering() for _ in range(40)} == set(pids)
        os.kill(pids[0], signal.SIGKILL)
        after = await running.next_pids()
        assert pids[1] in after
        assert pids[0] not in after
        assert {await running.answering() for _ in range(40)} == set(after)
    assert not any(alive(pid) for pid in after)


@pytest.mark.parametrize(
    ("exit_code", "failure"), [("3", Unavailable), ("2", Misconfigured), ("1", Misconfigured)]
)
async def test_workers_that_never_come_up_end_the_group(
    exit_code: str, failure: type[FlashorderError]
) -> None:
    failing = Group(1, WORKER_FAILS=exit_code)
    with pytest.raises(failure):
        await asyncio.wait_for(failing.workers.run(failing.stopping), 15)


async def test_workers_end_with_a_parent_that_was_killed() -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.infra.http.test_workers import group\n"
        "async def main():\n"
        "    async with group() as running:\n"
        "        print(*(await running.next_pids()), flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(parent.stdout.readline(), 20)).split()]
    assert len(pids) == COUNT
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(10):
        while any(alive(pid) for pid in pids):
            await asyncio.sleep(0.02)
