"""How a server ends: who is connected, on the way, or in the queue of the kernel is answered."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from flashorder.infra.http import draining
from flashorder.infra.http.application import build_application
from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.http.listening import SharedPort
from flashorder.infra.http.server import serve
from flashorder.infra.http.tokens import Authenticator
from tests.infra.http.serving import Served, make_settings, served

HEAD = b"GET /quick HTTP/1.1\r\nHost: x\r\n"
GET = HEAD + b"\r\n"
QUICK = b'{"quick":true}'


class Gate:
    """A handler that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.entered, self.opened = asyncio.Event(), asyncio.Event()

    async def handle(self, call: Call) -> Reply:
        self.entered.set()
        await self.opened.wait()
        return Reply(200, {"slow": True})

    async def handle_in_aiohttps_way(self, call: Call) -> web.StreamResponse:
        self.entered.set()
        await self.opened.wait()
        return web.Response(text="slow")


async def quick(call: Call) -> Reply:
    return Reply(200, {"quick": True})


def endpoints(gate: Gate | None = None) -> list[Endpoint]:
    gate = gate or Gate()
    return [
        Endpoint("GET", "/quick", quick, "s", "t", replies={200: dict[str, bool]}),
        Endpoint("GET", "/slow", gate.handle, "s", "t", replies={200: None}),
        Endpoint("GET", "/raw", gate.handle_in_aiohttps_way, "s", "t", replies={200: None}),
    ]


@asynccontextmanager
async def site_with(gate: Gate | None = None, **settings: Any) -> AsyncIterator[Served]:
    async with served(endpoints(gate), settings=make_settings(**settings)) as site:
        yield site


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What is said until the connection closes."""
    return await asyncio.wait_for(reader.read(), 10)


async def test_in_flight_and_on_the_way_is_answered_and_then_closed() -> None:
    gate = Gate()
    async with site_with(gate) as site:
        idle_reader, idle_writer = await site.connect()
        idle_writer.write(GET)
        await idle_reader.readuntil(QUICK)
        new_reader, new_writer = await site.connect()
        half_reader, half_writer = await site.connect()
        half_writer.write(HEAD)
        reader, writer = await site.connect()
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.entered.wait()
        site.stopping.set()
        async with asyncio.timeout(5):
            while not await refused(site):
                await asyncio.sleep(0.01)
        for each, said in ((idle_writer, GET), (new_writer, GET), (half_writer, b"\r\n")):
            each.write(said)
        gate.opened.set()
        for each in (idle_reader, new_reader, half_reader):
            said = await rest(each)
            assert said.startswith(b"HTTP/1.1 200 ")
            assert b"Connection: close" in said
            assert said.endswith(QUICK)
        said = await rest(reader)
        assert said.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in said
        await asyncio.wait_for(site.server, 5)
        for each in (idle_writer, new_writer, half_writer, writer):
            each.close()


async def refused(site: Served) -> bool:
    try:
        _, writer = await site.connect()
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_a_response_of_aiohttp_says_that_it_is_the_last_too() -> None:
    gate = Gate()
    async with site_with(gate) as site:
        reader, writer = await site.connect()
        writer.write(b"GET /raw HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.entered.wait()
        site.stopping.set()
        async with asyncio.timeout(5):
            while not await refused(site):
                await asyncio.sleep(0.01)
        gate.opened.set()
        said = await rest(reader)
        assert said.endswith(b"slow")
        assert b"connection: close" in said.lower()
        writer.close()


async def test_who_stays_silent_is_closed_after_a_while() -> None:
    async with site_with(drain_linger_seconds=0.1) as site:
        idle_reader, idle_writer = await site.connect()
        idle_writer.write(GET)
        await idle_reader.readuntil(QUICK)
        new_reader, new_writer = await site.connect()
        site.stopping.set()
        assert await rest(idle_reader) == b""
        assert await rest(new_reader) == b""
        await asyncio.wait_for(site.server, 5)
        idle_writer.close()
        new_writer.close()


async def test_a_request_that_nobody_has_read_yet_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lies in the kernel at the moment at which the silent are closed."""
    monkeypatch.setattr(draining, "POLL_SECONDS", 0.0)
    async with site_with(drain_linger_seconds=1e-9) as site:
        with socket.create_connection((site.listening.host, site.listening.port)) as client:
            client.sendall(GET)
            loop = asyncio.get_running_loop()
            client.setblocking(False)
            while not (await loop.sock_recv(client, 4096)).endswith(QUICK):
                pass
            site.stopping.set()
            client.sendall(GET)  # the server's loop is this one, and has not gone round since
            said = b""
            async with asyncio.timeout(5):
                while chunk := await loop.sock_recv(client, 4096):
                    said += chunk
            assert said.startswith(b"HTTP/1.1 200 ")
            assert said.endswith(QUICK)
        await asyncio.wait_for(site.server, 5)


async def test_what_waits_in_the_queue_of_the_kernel_is_answered() -> None:
    async with site_with() as site:
        at = (site.listening.host, site.listening.port)
        clients = [socket.create_connection(at) for _ in range(50)]
        try:
            for client in clients:
                client.sendall(GET)
            site.stopping.set()  # the loop has accepted none of them so far
            loop = asyncio.get_running_loop()
            for client in clients:
                client.setblocking(False)
                async with asyncio.timeout(5):
                    said = await loop.sock_recv(client, 4096)
                assert said.startswith(b"HTTP/1.1 200 ")
                assert b"Connection: close" in said
        finally:
            for client in clients:
                client.close()
        await asyncio.wait_for(site.server, 5)


async def test_draining_does_not_wait_for_ever() -> None:
    gate = Gate()
    async with site_with(gate, drain_timeout_seconds=0.2) as site:
        half_reader, half_writer = await site.connect()
        half_writer.write(HEAD)
        reader, writer = await site.connect()
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.entered.wait()
        site.stopping.set()
        await asyncio.wait_for(site.server, 3)
        assert await rest(half_reader) == b""
        assert await rest(reader) == b""
        half_writer.close()
        writer.close()


async def test_a_socket_that_was_handed_down_stays_open_for_who_comes_next() -> None:
    settings = make_settings()
    app = build_application(
        endpoints(), settings=settings, authenticator=Authenticator.of(settings)
    )
    with SharedPort("127.0.0.1", 0, 1) as shared:

        async def one_life(stopping: asyncio.Event, said: list[str]) -> None:
            await serve(
                app,
                settings,
                stopping,
                shared=socket.socket(fileno=os.dup(shared.fileno(0))),
                on_ready=lambda listening: said.append("up"),
                on_leaving=lambda: said.append("leaving"),
            )

        stopping = asyncio.Event()
        stopping.set()
        told: list[str] = []
        await asyncio.wait_for(one_life(stopping, told), 10)
        assert told == ["up", "leaving"]
        reader, writer = await asyncio.open_connection("127.0.0.1", shared.listening.port)
        writer.write(HEAD + b"Connection: close\r\n\r\n")
        again = asyncio.Event()
        app = build_application(
            endpoints(), settings=settings, authenticator=Authenticator.of(settings)
        )
        second = asyncio.create_task(one_life(again, told))
        assert (await rest(reader)).endswith(QUICK)
        again.set()
        await asyncio.wait_for(second, 10)
        writer.close()
