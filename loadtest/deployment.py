"""A flashorder of one's own to drive: started by ``flashorder up``, stopped again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 60.0
# All shoppers of a load test come from one address and at one speed: no limit is meant for them.
ONE_ADDRESS = {
    "FLASHORDER_ADDRESS_REQUESTS_PER_SECOND": "1000000",
    "FLASHORDER_ADDRESS_REQUESTS_BURST": "1000000",
    "FLASHORDER_CONNECTIONS_PER_ADDRESS_MAX": "20000",
}


class DeploymentFailed(Exception):
    """``flashorder up`` or another command did not do what it was asked."""


@dataclass(slots=True)
class Deployment:
    """A running flashorder: its addresses, and its commands with the right environment."""

    data_dir: Path
    ready_file: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    @property
    def state(self) -> dict[str, Any]:
        """The ready file as it is now: pids change when a role was started again."""
        for _ in range(100):
            try:
                state: dict[str, Any] = json.loads(self.ready_file.read_bytes())
            except (OSError, ValueError):
                time.sleep(0.01)
            else:
                return state
        raise DeploymentFailed(f"{self.ready_file} cannot be read")

    @property
    def url(self) -> str:
        """Where the service answers."""
        return str(self.state["url"])

    async def run(self, *arguments: str, expect: Sequence[int] = (0,)) -> str:
        """Standard output of ``flashorder <arguments>``."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "flashorder.cli",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        out, error = await process.communicate()
        if process.returncode not in expect:
            words = (error or out).decode(errors="replace").strip()
            raise DeploymentFailed(f"flashorder {arguments[0]}: {words}")
        return out.decode()

    async def tokens(self, count: int, role: str = "shopper") -> list[str]:
        """Bearer tokens of as many distinct accounts."""
        path = self.data_dir / f"tokens-{role}.txt"
        await self.run("tokens", "issue", "--count", str(count), "--role", role, "--out", str(path))
        return path.read_text(encoding="ascii").split()

    async def verify(self, settle_seconds: float) -> dict[str, Any]:
        """The report of ``flashorder verify``, violated or not."""
        out = await self.run(
            "verify", "--json", "--settle-seconds", str(settle_seconds), expect=(0, 1)
        )
        report: dict[str, Any] = json.loads(out)
        return report


def pid_of(state: Mapping[str, Any], role: str) -> int:
    """Process id of a role; of several web workers, the first."""
    pids = state["pids"][role]
    return int(pids[0] if isinstance(pids, list) else pids)


@asynccontextmanager
async def a_deployment(
    *, workers: int = 1, settings: Mapping[str, str] | None = None, log: Path | None = None
) -> AsyncIterator[Deployment]:
    """A fresh flashorder on a data folder that is gone afterwards; ``settings`` by full name."""
    with tempfile.TemporaryDirectory(prefix="flashorder-") as folder:
        data_dir = Path(folder) / "data"
        environment = {
            **{name: value for name, value in os.environ.items() if "FLASHORDER" not in name},
            **ONE_ADDRESS,
            **(settings or {}),
            "FLASHORDER_DATA_DIR": str(data_dir),
        }
        ready_file = Path(folder) / "ready.json"
        log_file = log or Path(folder) / "up.log"
        process = _start(workers, ready_file, environment, log_file)
        deployment = Deployment(data_dir, ready_file, environment, process)
        try:
            await _until_ready(deployment, log_file)
            yield deployment
        finally:
            await asyncio.to_thread(_stop, process)


async def _until_ready(deployment: Deployment, log_file: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not deployment.ready_file.exists():
        if deployment.process.poll() is not None or time.monotonic() > deadline:
            raise DeploymentFailed(f"flashorder up did not become ready:\n{_last_words(log_file)}")
        await asyncio.sleep(0.02)


def _start(
    workers: int, ready_file: Path, environment: Mapping[str, str], log_file: Path
) -> subprocess.Popen[bytes]:
    with log_file.open("wb") as words:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "flashorder.cli", "up", "--port", "0"),
                *("--no-demo", "--autopilot", "--workers", str(workers)),
                *("--ready-file", str(ready_file)),
            ],
            stdout=words,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _last_words(log_file: Path) -> str:
    return log_file.read_text(errors="replace")[-4000:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
