"""Running a role that answers nobody: from its start until a signal asks it to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from flashorder.cli.running import adopt_running_stores
from flashorder.settings import Settings, load_settings


class Role(Protocol):
    """What ``flashorder.app`` builds for a role."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until ``stopping`` is set; what is in hand is finished first."""
        ...


async def run_until_signalled(
    build: Callable[[Settings], AbstractAsyncContextManager[Role]],
) -> None:
    """Build the role, run it until SIGTERM or SIGINT, and close it again."""
    adopt_running_stores()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with build(load_settings()) as role:
        await role.run(stopping)
