"""Several workers on one port: killed, failing at the start, renewed, orphaned, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
import structlog

from flashorder.infra.http.listening import SharedPort
from flashorder.kernel.errors import FlashorderError, Misconfigured, Unavailable
from tests.infra.http.worker_group import COUNT, Group, group

# Each starts several processes, which takes its time on a machine that is busy.
pytestmark = pytest.mark.timeout(180)


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
    with SharedPort("127.0.0.1", 0, COUNT) as shared:
        failing = Group(shared, WORKER_FAILS=exit_code)
        with pytest.raises(failure):
            await asyncio.wait_for(failing.workers.run(failing.stopping), 60)


async def echoed(port: int, number: int) -> int | str:
    """The number as it comes back over a new connection, or what went wrong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"number": %d}' % number
    writer.write(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    try:
        said = await asyncio.wait_for(reader.read(), 60)
    except ConnectionResetError:
        return "reset"
    finally:
        writer.close()
    return int(said.rpartition(b'"number":')[2].split(b",")[0])


def connected(port: int) -> int:
    """How many clients have a connection, accepted or not."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(line[2].endswith(f":{port:04X}") and line[3] == "01" for line in lines)


@pytest.mark.parametrize("plain", [False, True])
async def test_what_waits_in_the_queue_of_a_killed_worker_is_served_by_the_next(
    plain: bool,
) -> None:
    """Also shows the trap: it is reset where each worker listens on a socket of its own."""
    async with group(plain=plain) as running:
        pids = await running.next_pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        async with asyncio.TaskGroup() as clients:
            waiting = [clients.create_task(echoed(running.port, each)) for each in range(40)]
            async with asyncio.timeout(30):
                while connected(running.port) < len(waiting):
                    await asyncio.sleep(0.01)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        said = [each.result() for each in waiting]
        assert said == (["reset"] * len(waiting) if plain else list(range(len(waiting))))


async def test_while_a_worker_is_away_new_connections_go_to_the_others() -> None:
    async with group() as running:
        pids = await running.next_pids()
        running.environment["WORKER_FAILS"] = "1"
        with structlog.testing.capture_logs() as lines:
            os.kill(pids[0], signal.SIGKILL)
            async with asyncio.timeout(60):
                while [line["event"] for line in lines].count("worker_ended") < 2:
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            assert {await running.answering() for _ in range(40)} == {pids[1]}
        running.environment.clear()
        after = await running.next_pids()
        assert {await running.answering() for _ in range(40)} == set(after)


async def test_a_ready_file_that_cannot_be_written_any_more_ends_nobody() -> None:
    async with group() as running:
        pids = await running.next_pids()
        running.deaf = True
        with structlog.testing.capture_logs() as lines:
            os.kill(pids[0], signal.SIGKILL)
            after = await running.next_pids()
        assert [line["pids"] for line in lines if line["event"] == "workers_not_told"] == [after]
        assert {await running.answering() for _ in range(40)} == set(after)


async def test_a_worker_that_is_told_to_stop_is_followed_at_once_without_a_crash() -> None:
    async with group() as running:
        pids = await running.next_pids()
        with structlog.testing.capture_logs() as lines:
            os.kill(pids[0], signal.SIGTERM)
            after = await running.next_pids()
        assert after[1] == pids[1]
        assert after[0] != pids[0]
        assert [line["event"] for line in lines] == ["worker_leaving"]


async def test_all_are_renewed_one_after_the_other() -> None:
    async with group() as running:
        first = await running.next_pids()
        running.workers.renew()
        between = await running.next_pids()
        assert between[0] not in first
        assert between[1] == first[1]
        last = await running.next_pids()
        assert last[0] == between[0]
        assert not set(last) & set(first)
        async with asyncio.timeout(30):
            while any(alive(pid) for pid in first):
                await asyncio.sleep(0.01)
        assert {await running.answering() for _ in range(40)} == set(last)


async def test_renewals_that_are_asked_for_meanwhile_are_one_more() -> None:
    async with group() as running:
        first = await running.next_pids()
        with structlog.testing.capture_logs() as lines:
            running.workers.renew()
            await running.next_pids()
            for _ in range(3):
                running.workers.renew()
            for _ in range(3):
                last = await running.next_pids()
            async with asyncio.timeout(30):
                while [line["event"] for line in lines].count("rolling_restart_ended") < 2:
                    await asyncio.sleep(0.01)
        assert running.told.empty()
        assert not set(last) & set(first)
        replaced = [line["instead_of"] for line in lines if line["event"] == "worker_replaced"]
        assert len(set(replaced)) == 2 * COUNT


async def test_a_new_worker_that_does_not_come_up_leaves_the_old_one_in_place() -> None:
    async with group() as running:
        pids = await running.next_pids()
        running.environment["WORKER_FAILS"] = "2"
        with structlog.testing.capture_logs() as lines:
            running.workers.renew()
            async with asyncio.timeout(60):
                while not lines or lines[-1]["event"] != "rolling_restart_stopped":
                    await asyncio.sleep(0.01)
        told = {line["event"]: line for line in lines}["worker_not_replaced"]
        assert (told["exit_code"], told["stays"]) == (2, pids[0])
        assert {await running.answering() for _ in range(40)} == set(pids)
        running.environment.clear()
        running.workers.renew()  # and the next one goes through
        await running.next_pids()
        assert not set(await running.next_pids()) & set(pids)


async def test_a_program_that_is_not_there_for_a_while_ends_nothing() -> None:
    async with group() as running:
        pids = await running.next_pids()
        running.program = "/nowhere/python"
        with structlog.testing.capture_logs() as lines:
            running.workers.renew()
            os.kill(pids[1], signal.SIGKILL)
            async with asyncio.timeout(60):
                told = {"rolling_restart_stopped", "worker_ended"}
                while not told <= {line["event"] for line in lines}:
                    await asyncio.sleep(0.01)
        assert {await running.answering() for _ in range(20)} == {pids[0]}
        running.program = sys.executable
        after = await running.next_pids()
        assert after[0] == pids[0]
        assert {await running.answering() for _ in range(40)} == set(after)


async def test_stopping_in_the_middle_of_a_renewal_leaves_nobody_behind() -> None:
    async with group() as running:
        pids = await running.next_pids()
        running.workers.renew()
        pids += await running.next_pids()
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(aiohttp.ClientConnectorError):
        await running.answering()


async def test_workers_end_with_a_parent_that_was_killed() -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.infra.http.worker_group import group\n"
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
    pids = [int(pid) for pid in (await asyncio.wait_for(parent.stdout.readline(), 60)).split()]
    assert len(pids) == COUNT
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(30):
        while any(alive(pid) for pid in pids):
            await asyncio.sleep(0.02)
