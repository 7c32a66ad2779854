"""What one connection may hold on to: half heads, answers that nobody reads, what is sent ahead.

They fail as well when aiohttp changes what ``GuardedConnection`` relies on.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec
import pytest

from flashorder.infra.http.connections import UNSERVED_BYTES_MAX
from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from tests.infra.http.serving import Served, make_settings, served
from tests.infra.http.test_direct import Desk, Reading, wish
from tests.infra.http.test_server import Gate

BIG = b"x" * 1_000_000
GET = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n"
HALF = b"GET /quick HTTP/1.1\r\nHost: h"
SLOW = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"
LATE_BODY = (
    b"POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n"
)
# What the server holds, and the kernel at both ends.
TAKEN_BYTES_MAX = 1_500_000


class Nothing(msgspec.Struct):
    """A body."""


async def quick(call: Call) -> Reply:
    return Reply(200, {"quick": True})


async def big(call: Call) -> Reply:
    return Reply(200, BIG)


@asynccontextmanager
async def site(
    desk: Desk, gate: Gate, shared: socket.socket | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """A direct call, one that is quick, one that waits at a gate, and one that says much."""
    endpoints = [
        desk.endpoint(),
        Endpoint("GET", "/quick", quick, "s", "t", replies={200: dict[str, bool]}),
        Endpoint("GET", "/slow", gate.handle, "s", "t", replies={200: dict[str, bool]}),
        Endpoint("POST", "/body", quick, "s", "t", body=Nothing, replies={200: dict[str, bool]}),
        Endpoint(
            "GET", "/big", big, "s", "t", replies={200: bytes},
            reply_content_type="application/octet-stream",
        ),
    ]  # fmt: skip
    async with served(endpoints, settings=make_settings(**settings), shared=shared) as up:
        yield up


@asynccontextmanager
async def connected(
    desk: Desk | None = None, gate: Gate | None = None, **settings: Any
) -> AsyncIterator[tuple[Served, Reading, asyncio.StreamWriter]]:
    async with site(desk or Desk(), gate or Gate(), **settings) as up:
        reader, writer = await up.connect()
        try:
            yield up, Reading(reader), writer
        finally:
            writer.close()


async def is_cut_off(reading: Reading) -> bool:
    """Whether the next that is said is that the head took too long, and nothing more."""
    status, _, problem = await reading.answer()
    return (status, problem["code"]) == (408, "request_timeout") and await reading.ends()


@pytest.mark.parametrize("first", [wish("x"), GET, wish("x") + GET, GET + wish("x")])
async def test_half_a_head_in_the_segment_of_a_request_has_its_deadline(first: bytes) -> None:
    async with connected(header_timeout_seconds=0.2) as (_, reading, writer):
        writer.write(first + HALF)
        for _ in range(first.count(b"HTTP/1.1")):
            assert (await reading.answer())[0] == 200
        assert await is_cut_off(reading)


@pytest.mark.parametrize("half", [HALF, b"G", b"POST /body HTTP/1.1\r\n", GET + HALF, GET[:-1]])
async def test_half_a_head_that_comes_in_flight_has_its_deadline(half: bytes) -> None:
    desk, gate = Desk(at_once=False), Gate()
    async with connected(desk, gate, header_timeout_seconds=0.2) as (up, reading, writer):
        writer.write(wish("x"))
        await desk.until_waiting()
        writer.write(half)
        await asyncio.sleep(0.3)  # in flight there is none
        desk.settle()
        for _ in range(1 + half.count(b"\r\n\r\n")):
            assert (await reading.answer())[0] == 200
        assert await is_cut_off(reading)
        reader, routed = await up.connect()
        routed.write(SLOW)
        await gate.entered.wait()
        routed.write(half)
        await asyncio.sleep(0.3)
        gate.opened.set()
        routed_reading = Reading(reader)
        for _ in range(1 + half.count(b"\r\n\r\n")):
            assert (await routed_reading.answer())[0] == 200
        assert await is_cut_off(routed_reading)
        routed.close()


async def test_half_a_head_may_be_completed_within_its_deadline() -> None:
    async with connected(header_timeout_seconds=0.5) as (_, reading, writer):
        for _ in range(3):
            writer.write(wish("x") + HALF)
            assert (await reading.answer())[0] == 200
            await asyncio.sleep(0.3)
            writer.write(b"\r\n\r\n")
            assert (await reading.answer())[2] == {"quick": True}


@pytest.mark.parametrize("whole", [wish("x"), GET, wish("x") + b"\r\n", GET + b"\r\n\r\n"])
async def test_an_idle_connection_without_half_a_head_is_left_alone(whole: bytes) -> None:
    """Line breaks behind a request are no head (RFC 9112, section 2.2)."""
    async with connected(header_timeout_seconds=0.1) as (_, reading, writer):
        for _ in range(3):
            writer.write(whole)
            assert (await reading.answer())[0] == 200
            await asyncio.sleep(0.3)
        writer.write(wish("y"))
        assert (await reading.answer())[2]["sku"] == "y"


async def test_a_body_that_comes_after_the_answer_is_no_head() -> None:
    async with connected(header_timeout_seconds=0.1) as (_, reading, writer):
        writer.write(LATE_BODY)
        assert (await reading.answer())[0] == 404
        writer.write(b"{}")
        await asyncio.sleep(0.3)
        writer.write(GET)
        assert (await reading.answer())[2] == {"quick": True}


@pytest.mark.parametrize("before", [b"", GET, wish("x")])
async def test_a_head_that_only_grows_is_refused(before: bytes) -> None:
    async with connected() as (_, reading, writer):
        if before:
            writer.write(before)
            assert (await reading.answer())[0] == 200
        writer.write(HALF)
        answering = asyncio.create_task(reading.answer())
        for _ in range(4 * UNSERVED_BYTES_MAX // 1000):
            writer.write(b"\r\nX: " + b"y" * 1000)
            await asyncio.sleep(0.001)
            if answering.done():
                break
        status, _, problem = await answering
        assert (status, problem["code"]) == (431, "request_head_too_large")


@asynccontextmanager
async def unreading(up: Served) -> AsyncIterator[socket.socket]:
    """A client whose own buffers are small, so that what it does not read stays with the server."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            client.setsockopt(socket.SOL_SOCKET, buffer, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, (up.listening.host, up.listening.port))
        yield client


async def is_given_up(client: socket.socket) -> bool:
    """A reset is told by the socket though nothing is read."""
    async with asyncio.timeout(20):
        while not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            await asyncio.sleep(0.02)
    return True


@contextmanager
def small_listener() -> Iterator[socket.socket]:
    """One at which the kernel takes few answers that nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize("requests", [b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n", wish("x") * 3_000])
async def test_who_never_reads_is_given_up(requests: bytes) -> None:
    """By direct calls too, of whose answers no single one is too large for the kernel."""
    loop = asyncio.get_running_loop()
    with small_listener() as small:
        async with (
            site(Desk(), Gate(), small, write_timeout_seconds=0.5) as up,
            unreading(up) as client,
        ):
            with suppress(ConnectionError):
                async with asyncio.timeout(20):
                    await loop.sock_sendall(client, requests)
                assert await is_given_up(client)
            async with up.client.get("/quick") as answer:
                assert answer.status == 200


@pytest.mark.parametrize("path", ["/v1/things/a/wishes", "/v1/things/a/wishes?x=1"])
@pytest.mark.parametrize("goodbye", ["Connection: close", "Connection: keep-alive"])
async def test_who_does_not_read_the_rest_is_given_up_after_the_closing(
    goodbye: str, path: str
) -> None:
    """What is left with the server is too little for it to pause."""
    loop = asyncio.get_running_loop()
    bounds = {"write_timeout_seconds": 0.3, "keepalive_timeout_seconds": 0.3}
    with small_listener() as small:
        async with site(Desk(), Gate(), small, **bounds) as up, unreading(up) as client:
            await loop.sock_sendall(client, wish("x" * 15_000, path, goodbye))
            assert await is_given_up(client)


async def until_blocked(client: socket.socket, data: bytes) -> int:
    """Send as much of ``data`` as is taken; how many bytes."""
    sent = 0
    with suppress(TimeoutError):
        while sent < len(data):
            async with asyncio.timeout(1):
                while sent < len(data):
                    try:
                        sent += client.send(data[sent : sent + 10_000])
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0.001)
    return sent


async def test_what_is_sent_ahead_is_bounded_and_answered_in_order() -> None:
    """Requests with large heads behind one in flight wait in the kernel, not in memory."""
    desk = Desk(at_once=False)
    large = wish("y", "/v1/things/a/wishes", *(f"X-{n}: {'y' * 4000}" for n in range(15)))
    count = 200
    async with site(desk, Gate()) as up, unreading(up) as client:
        await asyncio.get_running_loop().sock_sendall(client, wish("x"))
        await desk.until_waiting()
        ahead = large * count + wish("z")
        sent = await until_blocked(client, ahead)
        assert sent < TAKEN_BYTES_MAX
        desk.at_once = True
        desk.settle()
        reader, writer = await asyncio.open_connection(sock=client.dup())
        writer.write(ahead[sent:])
        reading = Reading(reader)
        said = [(await reading.answer())[2]["sku"] for _ in range(count + 2)]
        assert said == ["x", *"y" * count, "z"]
        writer.close()


async def test_no_more_is_read_for_each_of_them_that_is_answered() -> None:
    """Else small requests could let in as many large ones."""
    turns = asyncio.Semaphore(0)

    async def in_turn(call: Call) -> Reply:
        await turns.acquire()
        return Reply(200, {"quick": True})

    endpoint = Endpoint("GET", "/turn", in_turn, "s", "t", replies={200: dict[str, bool]})
    small = b"GET /turn HTTP/1.1\r\nHost: h\r\n\r\n"
    large = small[:-2] + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 4000) for n in range(15)) + b"\r\n"
    count = 200
    async with served([endpoint], settings=make_settings()) as up, unreading(up) as client:
        ahead = small * 14 + large * count
        sent = await until_blocked(client, ahead)
        assert sent < TAKEN_BYTES_MAX
        for _ in range(10):
            turns.release()
        assert await until_blocked(client, ahead[sent:]) == 0
        for _ in range(count + 14):
            turns.release()
        sent += await until_blocked(client, ahead[sent:])
        assert sent >= len(ahead)


async def test_half_a_head_without_end_behind_one_in_flight_closes_after_its_answer() -> None:
    desk = Desk(at_once=False)
    async with connected(desk) as (_, reading, writer):
        writer.write(wish("x"))
        await desk.until_waiting()
        writer.write(HALF + b"".join(b"\r\nX: " + b"y" * 4000 for _ in range(40)))
        await asyncio.sleep(0.2)
        desk.settle()
        status, headers, body = await reading.answer()
        assert (status, headers["Connection"], body["sku"]) == (200, "close", "x")
