"""Several workers that are running, and clients that keep them busy and count every failure."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import aiohttp

from flashorder.infra.http.listening import Listening, SharedPort
from flashorder.infra.http.workers import Workers

MODULE = "tests.infra.http.worker_process"
COUNT = 2


class PortOfNobody(SharedPort):
    """The plain way: the parent keeps only the number; each worker listens on its own socket."""

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.listening = Listening("127.0.0.1", self._holder.getsockname()[1])

    def fileno(self, index: int) -> int:
        return self._holder.fileno()

    def steer(self, indexes: object) -> None:
        """The kernel finds out by itself."""

    def close(self) -> None:
        self._holder.close()


class Group:
    """Workers that are running, and what was told of them.

    ``program`` and ``environment`` are of those to come. ``deaf``: telling fails.
    """

    def __init__(self, shared: SharedPort, **environment: str) -> None:
        self.port = shared.listening.port
        self.program = sys.executable
        self.environment = environment
        self.told: asyncio.Queue[list[int]] = asyncio.Queue()
        self.deaf = False
        self.stopping = asyncio.Event()
        self.workers = Workers(
            shared,
            COUNT,
            lambda index, listener: (
                [self.program, "-m", MODULE, str(os.getpid()), str(listener)],
                dict(self.environment),
            ),
            drain_timeout_seconds=40.0,
            on_change=self._tell,
        )

    def _tell(self, pids: list[int]) -> None:
        self.told.put_nowait(pids)
        if self.deaf:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def next_pids(self) -> list[int]:
        return await asyncio.wait_for(self.told.get(), 60)

    async def answering(self) -> int:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{self.port}/who") as answer,
        ):
            pid: int = (await answer.json())["pid"]
            return pid


@asynccontextmanager
async def group(*, plain: bool = False, **environment: str) -> AsyncIterator[Group]:
    """Running, with nobody waited for; ended in order. ``plain``: on sockets of their own."""
    with PortOfNobody() if plain else SharedPort("127.0.0.1", 0, COUNT) as shared:
        own = {"WORKER_OWN_SOCKET": "yes"} if plain else {}
        running = Group(shared, **environment, **own)
        task = asyncio.create_task(running.workers.run(running.stopping))
        try:
            yield running
        finally:
            running.stopping.set()
            await asyncio.wait_for(task, 60)


class Load:
    """What clients have seen so far. Each request is sent once: aiohttp repeats no POST."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = count()
        self.answered = 0
        self.failures: Counter[str] = Counter()
        self.longest_seconds = 0.0
        self.stopping = asyncio.Event()

    def send(self, client: aiohttp.ClientSession, number: int) -> Any:
        """POST something that is known by its number."""
        return client.post("/echo", json={"number": number})

    def is_right(self, number: int, status: int, said: Any) -> bool:
        """Whether that is the answer to ``number``."""
        return status == 200 and said["number"] == number

    async def answers(self, more: int) -> None:
        """Wait for so many more."""
        wanted = self.answered + more
        async with asyncio.timeout(60):
            while self.answered < wanted:
                await asyncio.sleep(0.01)

    async def run_client(self, *, keep_alive: bool, think_seconds: float) -> None:
        """One request after the other; ``keep_alive``: on one connection while it lasts."""
        connector = aiohttp.TCPConnector(force_close=not keep_alive)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(self._url, connector=connector, timeout=timeout) as client:
            while not self.stopping.is_set():
                await self._ask(client)
                await asyncio.sleep(think_seconds)

    async def _ask(self, client: aiohttp.ClientSession) -> None:
        number = next(self._numbers)
        began = time.monotonic()
        try:
            async with self.send(client, number) as answer:
                said = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            self.failures[type(failure).__name__] += 1
            return
        if not self.is_right(number, answer.status, said):
            self.failures[f"{answer.status} {said}"] += 1
            return
        self.answered += 1
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)


@asynccontextmanager
async def under(load: Load, *, kept: int = 8, new: int = 8) -> AsyncIterator[None]:
    """Clients on connections that they keep, some idle for longer, and on a new one a request."""
    async with asyncio.TaskGroup() as clients:
        for index in range(kept):
            think_seconds = 0.5 if index % 2 else 0.0
            clients.create_task(load.run_client(keep_alive=True, think_seconds=think_seconds))
        for _ in range(new):
            clients.create_task(load.run_client(keep_alive=False, think_seconds=0.0))
        try:
            yield
        finally:
            load.stopping.set()
