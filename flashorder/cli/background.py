"""Running a role that answers nobody: from its start until a signal asks it to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, TypeAlias

from flashorder.cli.output import print_json
from flashorder.cli.running import role_settings
from flashorder.infra.collection import rest_the_collector
from flashorder.settings import Settings

if TYPE_CHECKING:
    from flashorder.app.role import Role


Build: TypeAlias = "Callable[[Settings], AbstractAsyncContextManager[Role]]"


def run_role(name: str, build: Build, *, as_json: bool) -> None:
    """Build the role, run it until SIGTERM or SIGINT, and close it again.

    Its metrics are told on FLASHORDER_METRICS_PORT, if that is set. ``as_json``: its log is JSON,
    and ``{"ready": name, "pid"}`` a line on standard output once it works.
    """
    settings = role_settings(as_json=as_json)
    _give_way(settings.background_niceness)

    def announce() -> None:
        if as_json:
            print_json({"ready": name, "pid": os.getpid()})

    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(_until_signalled(build, settings, announce))


def _give_way(niceness: int) -> None:
    """Run at ``niceness`` at least, as nice(1) means it."""
    if os.getpriority(os.PRIO_PROCESS, 0) < niceness:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


async def _until_signalled(build: Build, settings: Settings, announce: Callable[[], None]) -> None:
    from flashorder.infra.telemetry.metrics import metrics_server  # noqa: PLC0415 - heavy

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        role = await stack.enter_async_context(build(settings))
        if settings.metrics_port:
            served = metrics_server(role.metrics, settings.host, settings.metrics_port)
            await stack.enter_async_context(served)
        rest_the_collector()
        announce()
        await role.run(stopping)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one; None: asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not to be had everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop
