"""A crowd that keeps connections and buys nothing: ``python -m bench.load.crowd PLAN``.

The plan is JSON: ``port``; how many are ``idle`` (they ask once, then stay silent), send ``heads``
or ``bodies`` at a byte a second, or ``deaf`` (they ask and do not read). Whoever is ended comes
again. Once all idle ones have been answered it writes a line; at SIGTERM, what it has seen.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections import Counter
from contextlib import suppress
from itertools import count

HOST = "127.0.0.1"
# Each has its own bound of connections; all of 127/8 is this machine.
ADDRESSES = 200
OPENED_AT_ONCE = 100
SECONDS_A_BYTE = 1.0
ASK = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"
DOCUMENTS = b"GET /openapi.json HTTP/1.1\r\nHost: bench\r\n\r\n" * 100
HEAD = b"GET /healthz HTTP/1.1\r\nX-Slow: "
BODY = (
    b"POST /v1/tokens HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    b"Content-Length: 999\r\n\r\n"
)


class Crowd:
    """All of them; ``seen`` counts what became of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._number = count()
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self.seen: Counter[str] = Counter()
        self.idle = 0

    async def _connected(self, *, deaf: bool = False) -> socket.socket:
        number = next(self._number)
        client = socket.socket()
        client.setblocking(False)
        if deaf:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((f"127.0.{1 + number % ADDRESSES}.1", 0))
        try:
            await asyncio.get_running_loop().sock_connect(client, (HOST, self._port))
        except BaseException:
            client.close()
            raise
        return client

    async def be_idle(self, first: asyncio.Event) -> None:
        """Ask once, and stay until it is ended."""
        loop = asyncio.get_running_loop()
        while True:
            answered = False
            with suppress(OSError):
                async with self._opening:
                    client = await self._connected()
                with client:
                    await loop.sock_sendall(client, ASK)
                    said = await loop.sock_recv(client, 4096)
                    answered = said.startswith(b"HTTP/1.1 200 ")
                    self.seen["idle, answered" if answered else "idle, refused"] += 1
                    first.set()
                    self.idle += answered
                    try:
                        await loop.sock_recv(client, 4096)
                    finally:
                        self.idle -= answered
            if not answered:
                await asyncio.sleep(SECONDS_A_BYTE)

    async def drip(self, name: str, beginning: bytes) -> None:
        """A byte a second, until it is ended."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(OSError), await self._connected() as client:
                await loop.sock_sendall(client, beginning)
                while True:
                    await asyncio.sleep(SECONDS_A_BYTE)
                    await loop.sock_sendall(client, b"x")
            self.seen[f"{name}, ended"] += 1
            await asyncio.sleep(SECONDS_A_BYTE)

    async def be_deaf(self) -> None:
        """Ask for much, and read nothing of it."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(OSError), await self._connected(deaf=True) as client:
                while True:
                    await loop.sock_sendall(client, DOCUMENTS)
            self.seen["deaf, ended"] += 1
            await asyncio.sleep(SECONDS_A_BYTE)


async def main(plan: dict[str, int]) -> None:
    """Until SIGTERM."""
    crowd = Crowd(plan["port"])
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    first = [asyncio.Event() for _ in range(plan["idle"])]
    tasks = [asyncio.create_task(crowd.be_idle(each)) for each in first]
    tasks += [asyncio.create_task(crowd.drip("heads", HEAD)) for _ in range(plan["heads"])]
    tasks += [asyncio.create_task(crowd.drip("bodies", BODY)) for _ in range(plan["bodies"])]
    tasks += [asyncio.create_task(crowd.be_deaf()) for _ in range(plan["deaf"])]
    for each in first:
        await each.wait()
    print(json.dumps({"idle": crowd.idle}), flush=True)
    await stopping.wait()
    idle = crowd.idle
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({"idle": idle, "seen": crowd.seen}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
