"""The client against real servers: what it connects to, what it follows, what it reads."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web

from flashorder.infra.http.egress import (
    Egress,
    EgressFailed,
    EgressPolicy,
    Failure,
    open_egress,
)
from flashorder.infra.http.egress.client import (
    ANSWER_BYTES_MAX,
    AddressRefused,
    GuardedResolver,
)

ANY_PORT = ((1, 65535),)
LOOPBACK = EgressPolicy(ANY_PORT, (ip_network("127.0.0.0/8"),), plain_http=True)
STRICT = EgressPolicy(ANY_PORT, plain_http=True)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def egress(policy: EgressPolicy) -> AsyncIterator[Egress]:
    async with open_egress(policy, connections_max=10, user_agent="flashorder-test") as client:
        yield client


@asynccontextmanager
async def speaking(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """A server on loopback; its port, and the requests that reached it."""
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        await request.read()
        return await answer(request)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], seen
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(handler: Handler) -> AsyncIterator[int]:
    """A server that says what it likes; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ok(request: web.Request) -> web.Response:
    return web.Response(text="thanks")


async def post(client: Egress, url: str, timeout_seconds: float = 5.0) -> Any:
    return await client.post(
        url, body=b"{}", headers={"Content-Type": "application/json"},
        timeout_seconds=timeout_seconds,
    )  # fmt: skip


async def blocked(client: Egress, url: str) -> EgressFailed:
    with pytest.raises(EgressFailed) as failed:
        await post(client, url)
    assert failed.value.failure is Failure.BLOCKED
    return failed.value


async def test_a_permitted_address_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with speaking(ok) as (port, seen), egress(LOOPBACK) as client:
        answer = await post(client, f"http://127.0.0.1:{port}/hook?a=b")
    assert (answer.status, answer.body) == (200, b"thanks")
    (request,) = seen
    assert request.path_qs == "/hook?a=b"
    assert request.headers["User-Agent"] == "flashorder-test"
    assert request.headers["Accept-Encoding"] == "identity"


async def test_nothing_connects_to_an_address_that_is_not_permitted() -> None:
    async with speaking(ok) as (port, seen), egress(STRICT) as client:
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1"):
            failure = await blocked(client, f"http://{host}:{port}/")
            assert "127." not in failure.detail
    assert seen == []


def answering(*rounds: list[str]) -> Any:
    """A resolver that says something else each time it is asked."""
    asked = iter(rounds)

    def look_up(self: Any, host: str, port: int, family: int) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "",
             (each, port))
            for each in next(asked)
        ]  # fmt: skip

    return look_up


async def test_a_name_that_leads_inside_the_second_time_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rebinding: what was public when it was first asked is loopback when it is called again."""
    async with speaking(ok) as (port, seen):
        allowed = EgressPolicy(ANY_PORT, (ip_network("127.0.0.1/32"),), plain_http=True)
        rounds = answering(["127.0.0.1"], ["127.0.0.2"], ["169.254.169.254"])
        monkeypatch.setattr(GuardedResolver, "look_up", rounds)
        url = f"http://hook.example:{port}/"
        async with egress(allowed) as client:
            assert (await post(client, url)).status == 200
        async with egress(allowed) as client:
            await blocked(client, url)
            await blocked(client, url)
    assert len(seen) == 1


async def test_one_address_that_is_refused_refuses_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(GuardedResolver, "look_up", answering(["1.1.1.1", "10.0.0.1"]))
    async with egress(STRICT) as client:
        await blocked(client, "http://hook.example:80/")


async def test_the_socket_is_the_last_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the resolver's check were passed by, no connection is made."""

    async def careless(self: Any, host: str, port: int = 0, family: int = 0) -> list[Any]:
        return [
            {"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET,
             "proto": 0, "flags": 0}
        ]  # fmt: skip

    monkeypatch.setattr(GuardedResolver, "resolve", careless)
    async with speaking(ok) as (port, seen), egress(STRICT) as client:
        await blocked(client, f"http://hook.example:{port}/")
    assert seen == []


async def test_the_resolver_refuses_by_itself() -> None:
    with ThreadPoolExecutor(1) as lookups:
        with pytest.raises(AddressRefused):
            await GuardedResolver(STRICT, lookups).resolve("localhost", 80)
        found = await GuardedResolver(LOOPBACK, lookups).resolve("localhost", 80, socket.AF_INET)
    assert {each["host"] for each in found} == {"127.0.0.1"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with speaking(ok) as (inside, seen):

        async def elsewhere(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"http://127.0.0.1:{inside}/"})

        async with speaking(elsewhere) as (port, _), egress(LOOPBACK) as client:
            assert (await post(client, f"http://127.0.0.1:{port}/")).status == status
        assert seen == []


async def test_no_more_of_an_answer_is_read_than_its_beginning() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            sent += 4096
            await writer.drain()

    async with raw(endless) as port, egress(LOOPBACK) as client:
        answer = await post(client, f"http://127.0.0.1:{port}/")
    assert answer.body == b"x" * ANSWER_BYTES_MAX
    assert sent < 64 * 1024 * 1024


async def test_what_is_compressed_is_not_unpacked() -> None:
    async def packed(request: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8b nothing", headers={"Content-Encoding": "gzip"})

    async with speaking(packed) as (port, _), egress(LOOPBACK) as client:
        assert (await post(client, f"http://127.0.0.1:{port}/")).body == b"\x1f\x8b nothing"


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("manner", [drip, silence])
async def test_whoever_is_slow_is_given_up_in_time(manner: Handler) -> None:
    async with raw(manner) as port, egress(LOOPBACK) as client:
        began = time.monotonic()
        with pytest.raises(EgressFailed) as failed:
            await post(client, f"http://127.0.0.1:{port}/", timeout_seconds=0.3)
        assert failed.value.failure is Failure.TIMED_OUT
        assert time.monotonic() - began < 2


async def test_a_name_that_is_looked_up_for_ever_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stuck(self: Any, host: str, port: int, family: int) -> list[Any]:
        time.sleep(1)
        return []

    monkeypatch.setattr(GuardedResolver, "look_up", stuck)
    async with egress(LOOPBACK) as client:
        with pytest.raises(EgressFailed) as failed:
            await post(client, "http://hook.example:80/", timeout_seconds=0.2)
        assert failed.value.failure is Failure.TIMED_OUT


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    await writer.drain()


async def long_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("manner", [hang_up, babble, long_head])
async def test_what_is_no_answer_is_told_as_one_failure(manner: Handler) -> None:
    async with raw(manner) as port, egress(LOOPBACK) as client:
        with pytest.raises(EgressFailed) as failed:
            await post(client, f"http://127.0.0.1:{port}/")
    assert failed.value.failure is Failure.UNREACHABLE
    assert "127." not in failed.value.detail


async def test_nobody_there_and_no_such_name_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(self: Any, host: str, port: int, family: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(GuardedResolver, "look_up", unknown)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with egress(LOOPBACK) as client:
            for url, said in (
                (f"http://127.0.0.1:{nobody.getsockname()[1]}/", "takes no connection"),
                ("http://nowhere.example:80/", "could not be looked up"),
            ):
                with pytest.raises(EgressFailed, match=said) as failed:
                    await post(client, url)
                assert failed.value.failure is Failure.UNREACHABLE


async def test_no_cookie_is_kept() -> None:
    async def sets(request: web.Request) -> web.Response:
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with speaking(sets) as (port, seen), egress(LOOPBACK) as client:
        for _ in range(2):
            await post(client, f"http://127.0.0.1:{port}/")
    assert [request.headers.get("Cookie") for request in seen] == [None, None]
