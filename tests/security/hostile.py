"""A provider and a carrier that answer whatever a test wants: no HTTP, too much, too late, lies."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Sending = Callable[[asyncio.StreamWriter], Awaitable[None]]
HUGE_BYTES = 32 * 1024 * 1024
NEST = b"[" * 20_000 + b"]" * 20_000


@dataclass
class Hostile:
    """A listener that answers every request with ``sending``; ``targets`` is what was asked for."""

    url: str
    sending: Sending | None = None
    targets: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one answer."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.targets.append(head.split(b" ")[1].decode())
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            if self.sending is not None:
                await self.sending(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever asked has heard enough
        finally:
            writer.close()


@asynccontextmanager
async def hostile() -> AsyncIterator[Hostile]:
    """One on a free port of this machine."""
    answering: Hostile | None = None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert answering is not None, "nobody knows the port before"
        await answering.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        answering = Hostile(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield answering


def answer(
    body: bytes, *lines: str, status: int = 200, media_type: str = "application/json"
) -> Sending:
    """A well-formed answer with ``body``."""

    async def send(writer: asyncio.StreamWriter) -> None:
        more = "".join(f"{line}\r\n" for line in lines)
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\n{more}"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()

    return send


def words(data: bytes) -> Sending:
    """Bytes as they are, and the end of the connection."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return send


async def silence(writer: asyncio.StreamWriter) -> None:
    """Nothing, for as long as anybody listens."""
    await asyncio.sleep(60)


async def drops(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def flood(writer: asyncio.StreamWriter) -> None:
    """More than anybody wants."""
    writer.write(b'HTTP/1.1 200 X\r\nContent-Type: application/json\r\n\r\n{"a":"')
    for _ in range(HUGE_BYTES // 65_536):
        writer.write(b"x" * 65_536)
        await writer.drain()


LIES: dict[str, Sending] = {
    "no HTTP": words(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "nothing": words(b""),
    "half a head": words(b"HTTP/1.1 200 X\r\nContent-Le"),
    "half a body": words(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{"),
    "a wrong length": words(b"HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n{}"),
    "two lengths": words(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "a broken chunk": words(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"),
    "a huge header": words(b"HTTP/1.1 200 X\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\n"),
    "many headers": words(b"HTTP/1.1 200 X\r\n" + b"X-A: a\r\n" * 20_000 + b"\r\n"),
    "silence": silence,
    "drops": drops,
    "a flood": flood,
    "a bomb": answer(gzip.compress(b" " * HUGE_BYTES), "Content-Encoding: gzip"),
    "broken gzip": answer(b"\x1f\x8b\x08nonsense", "Content-Encoding: gzip"),
    "an empty body": answer(b""),
    "no JSON": answer(b"<html>It works!</html>", media_type="text/html"),
    "half of JSON": answer(b'{"id": "pay_1", "sta'),
    "no UTF-8": answer(b'{"id": "\xff\xfe"}'),
    "another type": answer(b"[]"),
    "null": answer(b"null"),
    "an empty object": answer(b"{}"),
    "a nest": answer(NEST),
    "a nest inside": answer(b'{"id": "pay_1", "more": ' + NEST + b"}"),
    "a nest in a refusal": answer(b'{"code": ' + NEST + b"}", status=500),
    "no content": answer(b"", status=204),
    "not modified": answer(b"", status=304),
    "somewhere else": answer(b"", "Location: http://127.0.0.1:1/", status=302),
    "no such method": answer(b"", status=405),
    "a server error": answer(b"Traceback", status=500),
    "slow down": answer(b"", "Retry-After: 999999999", status=429),
    "a status that is none": answer(b"", status=999),
}
"""Answers that say nothing that could be believed."""
