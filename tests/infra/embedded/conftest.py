"""An open data folder, and launchers in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flashorder.infra.embedded import DataFolder
from flashorder.infra.embedded.run_as import RunAs, shim_command

PROJECT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True)
class Launcher:
    """A launcher process and the line it said."""

    process: asyncio.subprocess.Process
    said: Mapping[str, Any]

    async def kill(self) -> None:
        """``kill -9``."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


StartLauncher = Callable[..., Awaitable[Launcher]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    """A data folder that this test holds."""
    with DataFolder(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
async def start_launcher() -> AsyncIterator[StartLauncher]:
    """Start ``launcher.py`` on a folder; ended with the test."""
    launchers: list[asyncio.subprocess.Process] = []

    async def start(path: Path, *, run_as: RunAs = RunAs.SELF, **environment: str) -> Launcher:
        program = (sys.executable, str(PROGRAM), str(path))
        process = await asyncio.create_subprocess_exec(
            *shim_command(run_as, program, path.parent, death_signal=signal.SIGKILL),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=dict(os.environ) | {"PYTHONPATH": str(PROJECT)} | environment,
        )
        launchers.append(process)
        assert process.stdout is not None
        return Launcher(process, json.loads(await process.stdout.readline()))

    yield start
    for process in launchers:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()
