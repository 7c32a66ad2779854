"""A role is kept running, its words are kept, and it is stopped in time."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from flashorder.infra.supervision import Console, RoleCommand, RoleLog, SupervisedRole, role
from flashorder.infra.supervision.role_log import LINE_BYTES_MAX

NewLoop = Callable[[], asyncio.AbstractEventLoop]
PATIENT = "import signal, time; signal.pause()"
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "while True: time.sleep(1)"
)


class Stage:
    """Makes roles of Python snippets and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.screen = io.StringIO()
        self.console = Console(stream=self.screen)
        self.roles: list[SupervisedRole] = []
        self.changes = 0

    def role(self, code: str, stop_timeout_seconds: float = 5.0) -> SupervisedRole:
        command = RoleCommand(
            "role",
            (sys.executable, "-S", "-c", code),
            {"TOLD": "the child"},
            self.folder,
            stop_timeout_seconds,
        )
        log = RoleLog(self.folder, "role", self.console)
        made = SupervisedRole(command, log, self.console, self._count)
        self.roles.append(made)
        made.start()
        return made

    def _count(self) -> None:
        self.changes += 1

    def file(self) -> str:
        path = self.folder / "role.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(role, "BACKOFF_SECONDS_MIN", 0.01)
    made = Stage(tmp_path)
    yield made
    for each in made.roles:
        each.hurry()
        await each.stop()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def test_a_killed_role_comes_back(stage: Stage) -> None:
    kept = stage.role(PATIENT)
    await until(lambda: kept.pid is not None)
    first = kept.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: kept.pid not in (None, first))
    assert kept.restarts == 1
    assert stage.changes == 2
    assert "killed by SIGKILL; started again" in stage.screen.getvalue()


ORPHAN = """
import os, signal, time
if os.fork():
    signal.pause()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('orphan', os.getpid(), flush=True)
while True: time.sleep(1)
"""


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_comes_back_although_a_child_of_it_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_loop: NewLoop
) -> None:
    monkeypatch.setattr(role, "ORPHANS_SECONDS_MAX", 0.1)
    monkeypatch.setattr(role, "HEAD_POLL_SECONDS", 0.05)

    async def kill_the_head() -> int:
        stage = Stage(tmp_path)
        kept = stage.role(ORPHAN)
        try:
            await until(lambda: "orphan" in stage.file())
            first = kept.pid
            assert first is not None
            orphan = int(stage.file().split()[1])
            os.kill(first, signal.SIGKILL)
            await until(lambda: kept.pid not in (None, first))
            assert "left processes that do not end" in stage.screen.getvalue()
            return orphan
        finally:
            kept.hurry()
            await kept.stop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        orphan = runner.run(kill_the_head())
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie"


async def test_stop_ends_it_and_it_stays_ended(stage: Stage) -> None:
    kept = stage.role(PATIENT)
    await until(lambda: kept.pid is not None)
    await kept.stop()
    assert kept.pid is None
    await kept.stop()
    assert kept.restarts == 0


async def test_a_stop_right_after_the_start_is_heard(stage: Stage) -> None:
    kept = stage.role(PATIENT)
    async with asyncio.timeout(4):
        await kept.stop()
    assert kept.pid is None


async def test_a_stubborn_role_is_killed_in_time(stage: Stage) -> None:
    kept = stage.role(STUBBORN, stop_timeout_seconds=0.2)
    await until(lambda: "ready" in stage.file())
    started = time.monotonic()
    await kept.stop()
    assert time.monotonic() - started < 2
    assert "does not end in time" in stage.screen.getvalue()


async def test_hurry_does_not_wait(stage: Stage) -> None:
    kept = stage.role(STUBBORN, stop_timeout_seconds=30)
    await until(lambda: "ready" in stage.file())
    kept.hurry()
    async with asyncio.timeout(2):
        await kept.stop()


async def test_one_that_never_starts_is_given_up_with_its_last_words(stage: Stage) -> None:
    kept = stage.role("print('port 8080 is taken'); raise SystemExit(2)")
    async with asyncio.timeout(10):
        await kept.failed.wait()
    assert "port 8080 is taken" in kept.failure().detail
    assert kept.pid is None


async def test_one_that_has_worked_is_never_given_up(stage: Stage) -> None:
    kept = stage.role("raise SystemExit(1)")
    kept.proven()
    await until(lambda: kept.restarts > role.START_FAILURES_MAX)
    assert not kept.failed.is_set()


async def test_the_environment_reaches_the_role(stage: Stage) -> None:
    stage.role("import os; print(os.environ['TOLD'])").proven()
    await until(lambda: "the child" in stage.file())


WORDS = """
import json
for level in ('info', 'warning'):
    print(json.dumps({'event': level + ' thing', 'level': level, 'sku': '85123A'}), flush=True)
print('Traceback: plain words', flush=True)
print('{broken json', flush=True)
"""


async def test_all_words_go_to_the_file_and_warnings_to_the_screen(stage: Stage) -> None:
    stage.role(WORDS).proven()
    await until(lambda: "broken" in stage.file())
    assert "info thing" in stage.file()
    screen = stage.screen.getvalue()
    assert "info thing" not in screen
    assert "role              │ warning thing sku=85123A\n" in screen
    assert "Traceback: plain words" in screen
    assert "{broken json" in screen


async def test_a_line_without_end_is_cut_into_pieces(tmp_path: Path) -> None:
    log = RoleLog(tmp_path, "role", Console(stream=io.StringIO()))
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    reader.feed_data(b"x" * (3 * LINE_BYTES_MAX) + b"\nshort\nno end")
    reader.feed_eof()
    await log.follow(reader)
    lines = log.path.read_text().splitlines()
    assert sum(map(len, lines[:-2])) == 3 * LINE_BYTES_MAX
    assert lines[-2:] == ["short", "no end"]


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flashorder.infra.supervision import role_log

    monkeypatch.setattr(role_log, "FILE_BYTES_MAX", 1000)
    log = RoleLog(tmp_path, "role", Console(stream=io.StringIO()))
    for number in range(200):
        log.write(b"%050d\n" % number)
    sizes = {each.name: each.stat().st_size for each in tmp_path.iterdir()}
    assert set(sizes) <= {"role.log", "role.log.1"}
    assert sum(sizes.values()) < 2200


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from flashorder.infra.supervision import *
async def main():
    console = Console()
    kept = SupervisedRole(RoleCommand("role", (sys.executable, "-S", "-c", {code!r})),
                          RoleLog(Path({folder!r}), "role", console), console)
    kept.start()
    while kept.pid is None: await asyncio.sleep(0.01)
    print(kept.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_no_role_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    code = "print('up', flush=True); " + PATIENT
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SUPERVISOR.format(code=code, folder=str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    pid = int(await supervisor.stdout.readline())
    await until((tmp_path / "role.log").exists)
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
