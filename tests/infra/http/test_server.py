"""Bounds and manners of the server, over real sockets: also what is assumed of aiohttp."""

from __future__ import annotations

import asyncio
import io
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
import structlog

from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.http.openapi import problem_codes
from flashorder.kernel.errors import Misconfigured
from tests.infra.http.serving import Served, make_settings, served

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"
GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"


class Anything(msgspec.Struct):
    x: str = ""


class Gate:
    """A handler that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.entered, self.opened = asyncio.Event(), asyncio.Event()

    async def handle(self, call: Call) -> Reply:
        self.entered.set()
        await self.opened.wait()
        return Reply(200, {"slow": True})


async def quick(call: Call) -> Reply:
    return Reply(200, {"quick": True})


@asynccontextmanager
async def site_with(gate: Gate | None = None, **settings: Any) -> AsyncIterator[Served]:
    """A quick call, one that takes a body, and one that waits at a gate."""
    defaults = {"header_timeout_seconds": 5.0, "body_timeout_seconds": 5.0}
    endpoints = [
        Endpoint("GET", "/quick", quick, "s", "t", replies={200: dict[str, bool]}),
        Endpoint("POST", "/body", quick, "s", "t", body=Anything, replies={200: dict[str, bool]}),
        Endpoint("GET", "/slow", (gate or Gate()).handle, "s", "t", replies={200: None}),
    ]
    async with served(endpoints, settings=make_settings(**{**defaults, **settings})) as site:
        yield site


async def until_closed(reader: asyncio.StreamReader, within_seconds: float) -> bytes:
    async with asyncio.timeout(within_seconds):
        return await reader.read()


async def trickle(connection: socket.socket) -> None:
    """One byte after the other, until the connection breaks."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while True:
            await loop.sock_sendall(connection, b"x")
            await asyncio.sleep(0.02)


async def closed_while_trickling(site: Served, beginning: bytes) -> tuple[bytes, float]:
    """What the server says to a beginning that never ends, and after how many seconds."""
    loop = asyncio.get_running_loop()
    said = b""
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, (site.listening.host, site.listening.port))
        await loop.sock_sendall(connection, beginning)
        began = time.monotonic()
        trickling = asyncio.create_task(trickle(connection))
        try:
            async with asyncio.timeout(5):
                with suppress(ConnectionResetError):
                    while chunk := await loop.sock_recv(connection, 4096):
                        said += chunk
        finally:
            trickling.cancel()
            await asyncio.wait({trickling})
    return said, time.monotonic() - began


@pytest.mark.parametrize("beginning", [b"GET /", b"GET /quick HTTP/1.1\r\nX-Long: "])
async def test_a_head_that_never_ends_is_cut_off(beginning: bytes) -> None:
    async with site_with(header_timeout_seconds=0.2) as site:
        said, seconds = await closed_while_trickling(site, beginning)
        assert 0.15 < seconds < 2
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in said


async def test_a_second_head_that_never_ends_is_cut_off_too() -> None:
    async with site_with(header_timeout_seconds=0.2) as site:
        reader, writer = await site.connect()
        writer.write(GET)
        assert await reader.readuntil(b'{"quick":true}')
        await asyncio.sleep(0.3)  # between requests there is no such deadline
        writer.write(GET)
        assert await reader.readuntil(b'{"quick":true}')
        writer.write(b"GET /qui")
        said = await until_closed(reader, 3)
        assert said.startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with site_with(header_timeout_seconds=0.2) as site:
        assert await site.raw(b"", timeout_seconds=3) == b""


async def test_an_idle_connection_is_closed() -> None:
    async with site_with(keepalive_timeout_seconds=0.2) as site:
        reader, writer = await site.connect()
        writer.write(GET)
        assert await reader.readuntil(b'{"quick":true}')
        assert await until_closed(reader, 3) == b""
        writer.close()


async def test_a_slow_handler_is_not_cut_off_by_the_deadlines_of_heads() -> None:
    gate = Gate()
    async with site_with(gate, header_timeout_seconds=0.1, keepalive_timeout_seconds=0.1) as site:
        reader, writer = await site.connect()
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.entered.wait()
        await asyncio.sleep(0.4)
        gate.opened.set()
        assert await asyncio.wait_for(reader.readuntil(b'{"slow":true}'), 3)
        writer.close()


async def test_a_body_at_a_byte_at_a_time_is_cut_off() -> None:
    head = (
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 9999\r\n\r\n"
    )
    async with site_with(body_timeout_seconds=0.2) as site:
        said, seconds = await closed_while_trickling(site, head)
        assert seconds < 4
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close" in said


async def test_a_body_of_a_megabyte_is_refused_by_its_length() -> None:
    async with site_with() as site:
        began = time.monotonic()
        async with site.client.post("/body", json={"x": "y" * 1_000_000}) as answer:
            assert answer.status == 413
            assert (await answer.json(content_type=None))["code"] == "payload_too_large"
            assert answer.headers["Connection"] == "close"
        assert time.monotonic() - began < 3


async def test_a_body_of_a_megabyte_is_refused_when_it_names_no_length() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    async with site_with() as site:
        headers = {"Content-Type": "application/json"}
        async with site.client.post("/body", data=pieces(), headers=headers) as answer:
            assert answer.status == 413


async def test_a_large_body_flows_where_it_is_allowed() -> None:
    async def count(call: Call) -> Reply:
        return Reply(200, len(call.body))

    endpoint = Endpoint(
        "POST", "/csv", count, "s", "t", raw_body=True, content_type="text/csv",
        body_bytes_max=10_000_000, replies={200: int},
    )  # fmt: skip

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(500):
            yield b"x" * 10_000

    async with served([endpoint]) as site:
        headers = {"Content-Type": "text/csv"}
        for data in (io.BytesIO(b"x" * 5_000_000), pieces()):
            async with site.client.post("/csv", data=data, headers=headers) as answer:
                assert (answer.status, await answer.text()) == (200, "5000000")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [(None, None, 200), (b"", "application/json", 200), (b"{}", "application/json", 200),
     (b'{"zzz":1}', "application/json", 422), (b"[]", "application/json", 422),
     (b"{{{", "application/json", 400), (b"{}", "text/plain", 415), (b"{{{", "text/plain", 415),
     (b" " * 20_000, "application/json", 413)],
)  # fmt: skip
async def test_a_call_that_takes_no_body_says_so(
    method: str, data: bytes | None, content_type: str | None, status: int
) -> None:
    endpoint = Endpoint(method, "/verb", quick, "s", "t", replies={200: dict[str, bool]})
    headers = {"Content-Type": content_type} if content_type else {}
    async with (
        served([endpoint]) as site,
        site.client.request(method, "/verb", data=data, headers=headers) as answer,
    ):
        assert answer.status == status
        assert status in {200, *problem_codes(endpoint)}


async def test_a_compressed_body_is_not_unpacked() -> None:
    async with site_with() as site:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        async with site.client.post("/body", data=b"\x1f\x8b", headers=headers) as answer:
            assert answer.status == 415


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n{", CHUNKED])
@pytest.mark.parametrize("leave", ["abort", "close"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_disturbs_nobody(
    framing: bytes, leave: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with site_with() as site:
        with structlog.testing.capture_logs() as lines:
            _, writer = await site.connect()
            writer.write(
                b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + framing
            )
            await writer.drain()
            getattr(writer.transport, leave)()
            async with asyncio.timeout(5):
                while not lines:
                    await asyncio.sleep(0.01)
        assert [(line["event"], line["log_level"]) for line in lines] == [("client_gone", "debug")]
        assert not caplog.records
        async with site.client.get("/quick") as answer:
            assert answer.status == 200


async def refused(site: Served) -> bool:
    """Whether a new connection is turned away."""
    try:
        said = await site.raw(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    except ConnectionResetError:
        return True
    if said.startswith(b"HTTP/1.1 503 "):
        assert b"Retry-After: " in said
        assert b'"code":"overloaded"' in said
        return True
    assert said.startswith(b"HTTP/1.1 200 ")
    return False


@pytest.mark.parametrize("cap", ["connections_max", "connections_per_address_max"])
async def test_connections_are_capped_and_make_room_again(cap: str) -> None:
    async with site_with(**{cap: 3}) as site:
        for _ in range(3):  # again and again: nothing is counted twice or forgotten
            open_ones = [await site.connect() for _ in range(3)]
            for reader, writer in open_ones:
                writer.write(GET)
                await reader.readuntil(b'{"quick":true}')
            assert await refused(site)
            for _, writer in open_ones:
                writer.close()
            async with asyncio.timeout(3):
                while await refused(site):
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET /quick HTTP/9.9\r\n\r\n", 400),
        (b"GET /quick HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /quick HTTP/1.1\r\nX: " + b"y" * 10_000 + b"\r\n\r\n", 400),
        (b"GET /" + b"y" * 10_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"POST /body HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /body HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /quick HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET /quick HTTP/1.1\r\nHost: x\r\nExpect: beer\r\nConnection: close\r\n\r\n", 417),
        (b"GET /%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET /{x} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)  # fmt: skip
async def test_what_is_not_http_gets_a_problem(request_bytes: bytes, status: int) -> None:
    async with site_with(header_timeout_seconds=1.0) as site:
        said = await site.raw(request_bytes)
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"application/problem+json" in head
        assert msgspec.json.decode(body)["status"] == status


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with site_with() as site:
        said = await site.raw(
            GET * 50 + b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert said.count(b"HTTP/1.1 200 OK") == 50
        assert said.rindex(b"HTTP/1.1 404 ") > said.rindex(b"HTTP/1.1 200 ")


async def test_http_1_0_closes_unless_asked_to_stay() -> None:
    async with site_with() as site:
        said = await site.raw(b"GET /quick HTTP/1.0\r\n\r\n")
        assert b"Connection: close" in said
        reader, writer = await site.connect()
        for _ in range(2):
            writer.write(b"GET /quick HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            said = await reader.readuntil(b'{"quick":true}')
            assert b"Connection: keep-alive" in said
        writer.close()


async def test_a_port_that_is_taken_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"port {port} of 127.0.0.1 is taken"):
            async with served([], settings=make_settings().model_copy(update={"port": port})):
                pass
