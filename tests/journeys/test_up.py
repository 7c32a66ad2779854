"""``flashorder up``: ready, killed, started again, refused where it must be, stopped in order."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(120)
DEADLINE_SECONDS = 40.0


class Up:
    """One ``flashorder up`` on a data folder, as a person would start it."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.folder = folder
        self.ready_file = folder / "ready.json"
        self.ready_file.unlink(missing_ok=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if "FLASHORDER" not in name},
            "FLASHORDER_DATA_DIR": str(folder / "data"),
            **settings,
        }
        self.output = (folder / "up.log").open("w+b")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flashorder.cli", "up", "--port", "0"),
                *("--ready-file", str(self.ready_file), *arguments),
            ],
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=self.environment,
            start_new_session=True,
        )

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.words()
            time.sleep(0.02)

    def ready(self) -> dict[str, Any]:
        self.until(lambda: self.ready_file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.words()
        return json.loads(self.ready_file.read_bytes())

    def state(self) -> dict[str, Any]:
        return json.loads(self.ready_file.read_bytes())

    def words(self) -> str:
        return (self.folder / "up.log").read_text()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flashorder.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def end(self) -> None:
        if self.process.poll() is None:
            self.stop()
        self.output.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def make(*arguments: str, **settings: str) -> Up:
        started.append(Up(tmp_path, *arguments, **settings))
        return started[-1]

    yield make
    for each in started:
        each.end()


def flat(pids: dict[str, Any]) -> list[int]:
    return [pid for each in pids.values() for pid in (each if isinstance(each, list) else [each])]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def test_from_ready_over_deaths_to_the_end_and_back(start: Callable[..., Up]) -> None:
    up = start()
    state = up.ready()
    assert set(state) == {
        *("url", "redis_url", "database_url", "simulator_url", "carrier_url", "pids"),
    }
    assert set(state["pids"]) == {
        *("web", "consumer", "worker", "store", "database"),
        *("payment_simulator", "carrier_simulator"),
    }
    assert all(alive(pid) for pid in flat(state["pids"]))
    assert oct(up.ready_file.stat().st_mode & 0o777) == "0o600"
    (sale,) = get(f"{state['url']}/v1/sales?status=open")["items"]
    up.until(lambda: "Try next" in up.words())
    login = re.search(r"buyer +(\S+@\S+) +(\S+)", up.words())
    assert login, up.words()

    second = up.command("up", "--port", "0")
    assert second.returncode == 2
    assert "in use by pid" in second.stderr
    assert "Traceback" not in second.stderr

    killed = {role: state["pids"][role] for role in ("consumer", "store", "database", "worker")}
    killed["web"] = state["pids"]["web"][0]
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    up.until(
        lambda: (
            all(flat(up.state()["pids"]))
            and not set(killed.values()) & set(flat(up.state()["pids"]))
        )
    )
    verified = up.command("verify", "--settle-seconds", "20")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    pids = flat(up.state()["pids"])
    assert up.stop(signal.SIGINT) == 0
    assert not any(alive(pid) for pid in pids), up.words()
    assert "Traceback" not in up.words()

    again = start()
    state = again.ready()
    (same,) = get(f"{state['url']}/v1/sales?status=open")["items"]
    assert same["sale_id"] == sale["sale_id"], "the sale is seeded once"
    again.until(lambda: "Try next" in again.words())
    assert login.group(0) in again.words(), "the logins stay"
    again.process.kill()
    again.process.wait()
    again.until(lambda: not any(alive(pid) for pid in flat(state["pids"])))

    after_a_crash = start("--no-demo")
    after_a_crash.ready()
    assert "buyer" not in after_a_crash.words()
    assert after_a_crash.stop() == 0


def test_a_taken_port_is_one_clear_line(tmp_path: Path, start: Callable[..., Up]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        up = start("--port", str(port))
        assert up.process.wait(DEADLINE_SECONDS) == 2
    assert f"port {port} of 127.0.0.1 is taken" in up.words()
    assert "Traceback" not in up.words()


def test_ctrl_c_while_it_starts_leaves_nothing(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start()
    up.until((tmp_path / "data" / "valkey").exists)
    assert up.stop(signal.SIGINT) == 0
    assert "Traceback" not in up.words()
    assert not up.ready_file.exists()


def test_a_lost_store_is_brought_back_at_the_start(start: Callable[..., Up]) -> None:
    up = start("--no-autopilot")
    (sale,) = get(f"{up.ready()['url']}/v1/sales?status=open")["items"]
    assert up.stop() == 0
    shutil.rmtree(up.folder / "data" / "valkey")

    again = start("--no-autopilot")
    state = again.ready()
    assert f"the store had lost sale {sale['sale_id']}: it was rebuilt" in again.words()
    deadline = time.monotonic() + 10  # shoppers see a reading of the front that may be a second old
    while get(f"{state['url']}/v1/sales/{sale['sale_id']}")["status"] != "open":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    verified = again.command("verify", "--settle-seconds", "20")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert again.stop() == 0


def test_what_every_role_would_stumble_over_is_told_once(
    tmp_path: Path, start: Callable[..., Up]
) -> None:
    unwritable = start("--ready-file", str(tmp_path / "nowhere" / "ready.json"))
    assert unwritable.process.wait(DEADLINE_SECONDS) == 2
    assert "ready.json cannot be written: No such file" in unwritable.words()
    assert "starting" not in unwritable.words()

    (tmp_path / "data" / "secret").write_bytes(b"")
    no_seed = start()
    assert no_seed.process.wait(DEADLINE_SECONDS) == 2
    assert no_seed.words().count("is not a seed of 32 bytes") == 1
    assert "starting" not in no_seed.words()
