"""Slow, silent and greedy clients at the serving process: each is ended, and nobody waits for them.

Bounds are generous, since the machine is shared; `make bench ARGS=crowd` has the figures.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import TypeAlias

import psutil
import pytest_asyncio

from flashorder.infra.open_files import connections_possible, raise_open_files
from tests.security.front import HOST, Front, serving_front

HEADER_SECONDS = BODY_SECONDS = WRITE_SECONDS = 1.0
KEEPALIVE_SECONDS = 4.0
# What a machine that is busy otherwise may add.
PATIENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.2
EACH = 25
IDLE = 1_000
IDLE_ADDRESSES = 100
PURCHASES = 100
P99_SECONDS_MAX = 2.0
GROWTH_BYTES_MAX = 100_000_000

Pieces: TypeAlias = Iterator[bytes]


def half_a_head(front: Front) -> Pieces:
    yield b"GET /v1/sales HTTP/1.1\r\nHost: x\r\nX-Slow"


def a_head_by_the_byte(front: Front) -> Pieces:
    return chain([b"GET /v1/sales HTTP/1.1\r\nX-Slow: "], repeat(b"x"))


def half_a_head_behind_a_purchase(front: Front) -> Pieces:
    yield front.purchase() + b"POST /v1/"


def a_body_by_the_byte(front: Front) -> Pieces:
    head, _, body = front.purchase().partition(b"\r\n\r\n")
    return chain([head + b"\r\n\r\n"], (bytes([each]) for each in body))


def a_body_that_never_ends(front: Front) -> Pieces:
    head = b"\r\n".join([f"POST {front.path} HTTP/1.1".encode(), *front.credentials()])
    return chain([head + b"\r\nTransfer-Encoding: chunked\r\n\r\n1;x="], repeat(b"y" * 1000))


def nothing(front: Front) -> Pieces:
    return iter(())


def many_requests_and_no_reading(front: Front) -> Pieces:
    return repeat(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 500)


def large_heads_ahead_and_no_reading(front: Front) -> Pieces:
    head = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n"
    return repeat(head + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 4000) for n in range(14)) + b"\r\n")


SLOW: tuple[Callable[[Front], Pieces], ...] = (
    half_a_head,
    a_head_by_the_byte,
    half_a_head_behind_a_purchase,
    a_body_by_the_byte,
    a_body_that_never_ends,
    nothing,
)
GREEDY = (many_requests_and_no_reading, large_heads_ahead_and_no_reading)


@pytest_asyncio.fixture
async def front(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    changes = {
        "FLASHORDER_HEADER_TIMEOUT_SECONDS": f"{HEADER_SECONDS}",
        "FLASHORDER_BODY_TIMEOUT_SECONDS": f"{BODY_SECONDS}",
        "FLASHORDER_WRITE_TIMEOUT_SECONDS": f"{WRITE_SECONDS}",
        "FLASHORDER_KEEPALIVE_TIMEOUT_SECONDS": f"{KEEPALIVE_SECONDS}",
        "FLASHORDER_CONNECTIONS_PER_ADDRESS_MAX": "60",
    }
    async with serving_front(redis_url, database_url, tmp_path, changes) as front:
        yield front


def address(number: int) -> str:
    """One of the many addresses of this machine."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


async def ended_after_seconds(front: Front, number: int, pieces: Pieces, *, reads: bool) -> float:
    """How long the server bears with a client that sends ``pieces``, and nothing once they end."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        if not reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((address(number), 0))
        await loop.sock_connect(client, (HOST, front.port))
        began = time.monotonic()
        sending = asyncio.create_task(_send(client, pieces))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # Who does not read hears of the end by a send that fails.
                await (_until_closed(client) if reads else sending)
        finally:
            sending.cancel()
            await asyncio.wait({sending})
        return time.monotonic() - began


async def _send(client: socket.socket, pieces: Pieces) -> None:
    with suppress(ConnectionError):
        for piece in pieces:
            await asyncio.get_running_loop().sock_sendall(client, piece)
            if len(piece) < 10_000:
                await asyncio.sleep(PAUSE_SECONDS)


async def _until_closed(client: socket.socket) -> None:
    with suppress(ConnectionError):
        while await asyncio.get_running_loop().sock_recv(client, 65536):
            pass


async def p99_seconds(front: Front, count: int) -> float:
    """Of purchases one after the other, each of which must be accepted."""
    reader, writer = await front.connect()
    taken = []
    try:
        for _ in range(count):
            began = time.monotonic()
            writer.write(front.purchase())
            async with asyncio.timeout(PATIENCE_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 202 "), head
                length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
            taken.append(time.monotonic() - began)
    finally:
        writer.close()
    return sorted(taken)[int(count * 0.99)]


async def until_as_few(front: Front, connections: int) -> None:
    """Wait until the process has no more than so many connections of clients."""
    process = psutil.Process(front.pid)

    def count() -> int:
        return sum(each.laddr.port == front.port for each in process.net_connections("tcp"))

    async with asyncio.timeout(PATIENCE_SECONDS):
        while count() > connections:
            await asyncio.sleep(0.1)


async def test_slow_clients_are_ended_while_others_buy(front: Front) -> None:
    await p99_seconds(front, PURCHASES)
    before = front.resident_bytes()
    crowd = [
        asyncio.create_task(ended_after_seconds(front, number, behave(front), reads=True))
        for number, behave in enumerate(chain.from_iterable(repeat(SLOW, EACH)))
    ]
    assert await p99_seconds(front, PURCHASES) < P99_SECONDS_MAX
    borne = await asyncio.gather(*crowd)
    # Ended by its own bound, and the lingering after a refused body: not by idleness.
    assert max(borne) < PATIENCE_SECONDS
    assert min(borne) > HEADER_SECONDS / 2
    await until_as_few(front, 1)
    assert front.resident_bytes() - before < GROWTH_BYTES_MAX


async def test_who_sends_and_never_reads_is_ended_and_takes_little(front: Front) -> None:
    await p99_seconds(front, PURCHASES)
    before = front.resident_bytes()
    crowd = [
        asyncio.create_task(ended_after_seconds(front, number, behave(front), reads=False))
        for number, behave in enumerate(chain.from_iterable(repeat(GREEDY, EACH)))
    ]
    most = 0
    while not all(each.done() for each in crowd):
        most = max(most, front.resident_bytes() - before)
        await asyncio.sleep(0.1)
    await asyncio.gather(*crowd)
    assert most < GROWTH_BYTES_MAX
    await until_as_few(front, 1)
    assert await p99_seconds(front, PURCHASES) < P99_SECONDS_MAX


async def test_an_idle_crowd_keeps_nobody_from_buying(front: Front) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_open_files(IDLE)
    try:
        assert connections_possible() >= IDLE, f"ulimit -Hn {hard} is too low for this test"
        idle = await asyncio.gather(
            *(front.connect(address(number % IDLE_ADDRESSES)) for number in range(IDLE))
        )
        for _, writer in idle:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, _ in idle:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert await p99_seconds(front, PURCHASES) < P99_SECONDS_MAX
        await until_as_few(front, 1)
        for _, writer in idle:
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_an_address_at_its_cap_keeps_no_other_out(front: Front) -> None:
    greedy = await asyncio.gather(*(front.connect(address(7)) for _ in range(100)))
    try:
        for _, writer in greedy:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        said = []
        for reader, _ in greedy:
            with suppress(ConnectionError):
                said.append((await reader.readline())[9:12])
        # A request that comes after the refusal resets the connection, and may take the 503 along.
        assert said.count(b"200") == 60
        assert set(said) <= {b"200", b"503", b""}
        assert await p99_seconds(front, PURCHASES) < P99_SECONDS_MAX
    finally:
        for _, writer in greedy:
            writer.close()
