"""The link itself: what it does to bytes, each weather by its effect and not by a clock."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from tests.faults.links import FAIR, Direction, Link, Weather

SOON_SECONDS = 5.0


@dataclass
class Echo:
    """A server that keeps what it reads and sends it back."""

    read: bytearray = field(default_factory=bytearray)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                self.read += data
                self.arrived.set()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[tuple[Echo, Link]]:
    behind = Echo()
    server = await asyncio.start_server(behind.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Link("echo", lambda: ("127.0.0.1", port)) as link:
        yield behind, link
    server.close()


async def _connect(link: Link) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", link.port)


async def test_in_fair_weather_bytes_go_both_ways_and_the_end_is_told(
    echo: tuple[Echo, Link],
) -> None:
    behind, link = echo
    reader, writer = await _connect(link)
    sent = bytes(range(256)) * 1000
    async with asyncio.timeout(SOON_SECONDS):
        writer.write(sent)
        writer.write_eof()
        assert await reader.read(-1) == sent
    assert behind.read == sent
    assert link.carried_bytes == 2 * len(sent)
    writer.close()


@pytest.mark.parametrize("silent", [Direction.UP, Direction.DOWN])
async def test_silence_holds_one_way_back_and_nothing_is_lost(
    echo: tuple[Echo, Link], silent: Direction
) -> None:
    behind, link = echo
    reader, writer = await _connect(link)
    link.becomes(Weather(silent=frozenset({silent})))
    writer.write(b"question")
    answer = asyncio.create_task(reader.readexactly(8))
    if silent is Direction.DOWN:
        async with asyncio.timeout(SOON_SECONDS):
            await behind.arrived.wait()
    done, _ = await asyncio.wait({answer}, timeout=0.1)
    assert not done
    assert bytes(behind.read) == (b"" if silent is Direction.UP else b"question")
    link.becomes(FAIR)
    async with asyncio.timeout(SOON_SECONDS):
        assert await answer == b"question"
    writer.close()


async def test_a_reset_is_seen_as_one_by_both_sides_and_the_next_connection_works(
    echo: tuple[Echo, Link],
) -> None:
    _, link = echo
    reader, writer = await _connect(link)
    async with asyncio.timeout(SOON_SECONDS):
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        assert link.reset() == 1
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        reader, writer = await _connect(link)
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
    writer.close()


async def test_a_cut_lets_exactly_so_many_bytes_through_and_strikes_once(
    echo: tuple[Echo, Link],
) -> None:
    behind, link = echo
    reader, writer = await _connect(link)
    link.becomes(Weather(cut_after=5))
    async with asyncio.timeout(SOON_SECONDS):
        writer.write(b"0123456789")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        reader, writer = await _connect(link)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
    # A reset may overtake bytes that were written just before it, as on a real line.
    assert bytes(behind.read).removesuffix(b"again") in (b"01234", b"")
    writer.close()


async def test_a_drip_is_one_byte_at_a_time_until_the_weather_is_fair(
    echo: tuple[Echo, Link],
) -> None:
    behind, link = echo
    reader, writer = await _connect(link)
    link.becomes(Weather(drip_seconds=3600.0))
    writer.write(b"question")
    async with asyncio.timeout(SOON_SECONDS):
        await behind.arrived.wait()
        assert bytes(behind.read) == b"q"
        assert await reader.readexactly(1) == b"q"
        link.becomes(FAIR)
        assert await reader.readexactly(7) == b"uestion"
    writer.close()


async def test_latency_delays_and_keeps_the_order(echo: tuple[Echo, Link]) -> None:
    _, link = echo
    clock = asyncio.get_running_loop().time
    reader, writer = await _connect(link)
    link.becomes(Weather(latency_seconds=0.05))
    began = clock()
    async with asyncio.timeout(SOON_SECONDS):
        for n in range(10):
            writer.write(b"%d" % n)
            await writer.drain()
        assert await reader.readexactly(10) == b"0123456789"
    assert clock() - began >= 0.1
    writer.close()


async def test_a_link_that_refuses_or_leads_nowhere_resets(echo: tuple[Echo, Link]) -> None:
    _, link = echo
    link.becomes(Weather(refuses=True))
    reader, writer = await _connect(link)
    async with asyncio.timeout(SOON_SECONDS):
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
    writer.close()
    async with Link("nowhere", lambda: ("127.0.0.1", 1)) as nowhere:
        reader, writer = await _connect(nowhere)
        async with asyncio.timeout(SOON_SECONDS):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
        writer.close()


def test_on_uvloop_an_end_that_is_gone_is_no_error() -> None:
    """Runs are on uvloop, which says other things of a closed transport than asyncio does."""
    errors: list[dict[str, Any]] = []

    async def lose_the_client() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: errors.append(what))
        server = await asyncio.start_server(Echo().serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Link("echo", lambda: ("127.0.0.1", port)) as link:
            for reset in (False, True):
                reader, writer = await _connect(link)
                writer.write(b"here")
                await reader.readexactly(len(b"here"))
                link.becomes(Weather(drip_seconds=0.001))
                writer.write(bytes(20))
                writer.write_eof()
                if reset:
                    link.reset()
                writer.transport.abort()
                async with asyncio.timeout(SOON_SECONDS):
                    while link._tasks:  # who is still there at the link's end is not judged
                        await asyncio.sleep(0)
        server.close()
        gc.collect()  # what nobody asked about is told when it goes

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(lose_the_client())
    assert errors == []
