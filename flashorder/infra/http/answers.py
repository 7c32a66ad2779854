"""Answers written as one piece of ready-made bytes.

``web.Response`` builds a header dictionary, serialises it and passes through four coroutines; that
is a fifth of what a purchase costs the worker (DESIGN, section 6). ``Answer`` overrides the public
methods ``prepare`` and ``write_eof`` of ``web.StreamResponse`` and writes head and body with one
call on the transport. Keep-alive, HEAD, HTTP/1.0 and a client that has gone behave as aiohttp's own
do; tests/infra/http/test_answers.py holds them to it over real sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import HttpVersion10, web
from aiohttp.abc import AbstractStreamWriter

JSON: Final = "application/json"
DRAIN_TIMEOUT_SECONDS: Final = 10.0
REPLAYED: Final = "Idempotency-Replayed: true\r\n"
"""The line of an answer that was given before."""
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_BODYLESS = frozenset({204, 304})


class _Clock:
    """The Date header, formatted once a second."""

    second = 0
    text = ""

    def now(self) -> str:
        second = int(time.time())
        if second != self.second:
            self.second = second
            self.text = formatdate(second, usegmt=True)
        return self.text


_date = _Clock()


class Answer(web.StreamResponse):
    """A whole response: status, body and header lines (each ended by CRLF), ready to be written.

    ``lines`` comes from ``header_lines`` or from constants: nothing is checked here.
    """

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        *,
        content_type: str = JSON,
        lines: str = "",
        closes: bool = False,
    ) -> None:
        # No super().__init__: none of the state it sets up is used by the overridden methods.
        # ``code`` and ``stays_open`` are what aiohttp calls ``status`` and ``keep_alive``: asking a
        # property costs a call.
        self.code = status
        self._content = body
        self._type = content_type
        self._lines = lines
        self.stays_open = not closes
        self._written = False

    @property
    def status(self) -> int:
        """The status code."""
        return self.code

    @property
    def reason(self) -> str:
        """The reason phrase."""
        return _STATUS_LINES[self.code][4:]

    @property
    def content(self) -> bytes:
        """The body."""
        return self._content

    @property
    def media_type(self) -> str:
        """Content type, parameters included."""
        return self._type

    @property
    def lines(self) -> str:
        """The header lines beside those that every answer has."""
        return self._lines

    def add_lines(self, lines: str) -> None:
        """Say more in the head, before it is written."""
        self._lines += lines

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection serves further requests."""
        return self.stays_open

    def force_close(self) -> None:
        """End the connection with this answer."""
        self.stays_open = False

    @property
    def prepared(self) -> bool:
        """Whether it was written."""
        return self._written

    @property
    def body_length(self) -> int:
        """Bytes of the body."""
        return len(self._content)

    def whole(self) -> bytes:
        """Everything as HTTP/1.1 wants it, for a connection without a request."""
        content = self._content
        if not content or not self.stays_open:
            return self._bytes("GET", http_1_0=False)
        # What nearly every direct call is answered with, in one piece.
        return (
            f"HTTP/1.1 {_STATUS_LINES[self.code]}\r\nContent-Type: {self._type}\r\n"
            f"Content-Length: {len(content)}\r\nDate: {_date.now()}\r\n{self._lines}\r\n"
        ).encode("latin-1") + content

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything. ``ConnectionResetError`` when the client has gone."""
        if self._written:
            return None
        self._written = True
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        if self.stays_open and (
            not request.keep_alive or getattr(request.protocol, "closing", False)
        ):
            self.stays_open = False
        transport.write(self._bytes(request.method, http_1_0=request.version <= HttpVersion10))
        if request.protocol.writing_paused:
            await self._drain(request, transport)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to be written."""
        assert not data, "an Answer is whole from the beginning"

    def _bytes(self, method: str, *, http_1_0: bool) -> bytes:
        if not self.stays_open:
            connection = "Connection: close\r\n"
        elif http_1_0:
            connection = "Connection: keep-alive\r\n"
        else:
            connection = ""
        status = self.code
        content = self._content
        described = (
            ""
            if status in _BODYLESS
            else f"Content-Type: {self._type}\r\nContent-Length: {len(content)}\r\n"
            if content
            else "Content-Length: 0\r\n"
        )
        head = (
            f"HTTP/1.1 {_STATUS_LINES[status]}\r\n{described}Date: {_date.now()}\r\n"
            f"{connection}{self._lines}\r\n"
        ).encode("latin-1")
        return head if method == "HEAD" or status in _BODYLESS else head + content

    async def _drain(self, request: web.BaseRequest, transport: asyncio.Transport) -> None:
        """Wait for a slow reader, but not for ever."""
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_SECONDS):
                await request.writer.drain()
        except TimeoutError:
            transport.abort()
            raise ConnectionResetError("the client does not read") from None


# What every answer of the service says: never guessed at, never kept by a cache unless it says so.
NOSNIFF: Final = "X-Content-Type-Options: nosniff\r\n"
PRIVATE: Final = NOSNIFF + "Cache-Control: no-store\r\n"


def header_lines(headers: Mapping[str, str]) -> str:
    """``headers`` as they stand in the head, with the defaults above.

    Raises ``ValueError`` for a value that would break out of its line.
    """
    lines = NOSNIFF if "Cache-Control" in headers else PRIVATE
    for name, value in headers.items():
        if "\r" in value or "\n" in value or "\0" in value:
            raise ValueError(f"header {name} has a line break in it: {value!r}")
        value.encode("latin-1")
        lines += f"{name}: {value}\r\n"
    return lines
