"""Newcomers are taken as they come, however seldom the loop looks; by either kind of loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import uvloop

from flashorder.infra.http.accepting import TAKEN_A_TURN_MAX, Accepting

NEWCOMERS = 3 * TAKEN_A_TURN_MAX
TURNS_MAX = 30
LOOPS = pytest.mark.parametrize("make_loop", [uvloop.new_event_loop, asyncio.new_event_loop])


class Hosting:
    """A server whose connections say that they were made, and leave it at that."""

    def __init__(self) -> None:
        self.made = 0
        self.accepting = Accepting(self._make)  # type: ignore[arg-type] - any protocol will do

    def _make(self) -> asyncio.Protocol:
        hosting = self

        class Newcomer(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                hosting.made += 1

        return Newcomer()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[tuple[str, int]]:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(self.accepting.connection, "127.0.0.1", 0, backlog=4096)
        self.accepting.listener = listener
        try:
            yield listener.sockets[0].getsockname()
        finally:
            listener.close()
            await self.accepting.settled()


def run_on(make_loop: Callable[[], asyncio.AbstractEventLoop], work: Any) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(work)


@LOOPS
def test_a_crowd_is_let_in_within_a_few_turns(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def crowd() -> None:
        hosting = Hosting()
        async with hosting.listening() as address, AsyncExitStack() as clients:
            for _ in range(NEWCOMERS):  # they are the kernel's until the loop turns
                clients.enter_context(socket.create_connection(address))
            turns = 0
            while hosting.made < NEWCOMERS and turns < TURNS_MAX:
                await asyncio.sleep(0)
                turns += 1
            assert hosting.made == NEWCOMERS

    run_on(make_loop, crowd())


@LOOPS
def test_nothing_is_taken_once_the_listener_is_closed(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def closing() -> None:
        hosting = Hosting()
        async with hosting.listening() as address, AsyncExitStack() as clients:
            for _ in range(3):
                clients.enter_context(socket.create_connection(address))
            while not hosting.made:
                await asyncio.sleep(0)
            assert hosting.accepting.listener is not None
            hosting.accepting.listener.close()
            await hosting.accepting.settled()
            for _ in range(TURNS_MAX):
                await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

    run_on(make_loop, closing())
