"""The do-nothing application as a running program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bench.context import Context
from bench.processes import Program, running
from flashorder.infra.embedded.ports import free_port

NAME = "aiohttp that does nothing"
PATH = "/orders"


@dataclass(frozen=True, slots=True)
class Floor:
    """The programs that share one port."""

    port: int
    pids: tuple[int, ...]


@asynccontextmanager
async def floor_application(context: Context, processes: int = 1) -> AsyncIterator[Floor]:
    """As many processes as asked for, on the server's processors."""
    port = free_port()
    argv = [context.python, "-m", "bench.floors.application", str(port), str(processes)]
    async with AsyncExitStack() as stack:
        programs: list[Program] = []
        for number in range(processes):
            program = running(
                f"floor {number}",
                argv,
                cores=context.cores.server,
                folder=context.folder,
                port=port,
            )
            programs.append(await stack.enter_async_context(program))
        yield Floor(port, tuple(each.pid for each in programs))
