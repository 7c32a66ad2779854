"""Bytes to the service and back, without a library's opinion of either."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from multidict import CIMultiDict

from tests.security.service import Service

ANSWER_SECONDS_MAX = 5


@dataclass(frozen=True)
class RawAnswer:
    """The first answer on a connection; of a body without a length, what came with the head."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


async def raw(service: Service, sent: bytes) -> RawAnswer:
    """What is answered to ``sent``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            headers = CIMultiDict(line.split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        return RawAnswer(int(first.split()[1]), headers, body)
    finally:
        writer.close()
