"""Ask over HTTP whether a role is ready; without a client library, which takes long to import."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

POLL_SECONDS = 0.02
PROBE_TIMEOUT_SECONDS = 2.0


async def until_ok(url: str) -> None:
    """Return once ``GET url`` is answered with 200; bounded by the caller."""
    while not await answers_ok(url):  # noqa: ASYNC110 - nobody can tell us but the role itself
        await asyncio.sleep(POLL_SECONDS)


async def answers_ok(url: str) -> bool:
    """Whether ``GET url`` is answered with 200."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            try:
                request = (
                    f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                    "Connection: close\r\n\r\n"
                )
                writer.write(request.encode())
                status_line = await reader.readline()
            finally:
                writer.close()
    except OSError:  # TimeoutError is one of them
        return False
    return status_line.split(b" ")[1:2] == [b"200"]
