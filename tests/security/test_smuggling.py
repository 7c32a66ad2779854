"""Request smuggling on bare sockets: what two servers might read in two ways is read in one here.

Behind each request lies a purchase. It must not run where the request is refused or has it as its
content; it must run where the request has ended. The stream tells what ran.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest_asyncio

from tests.security.front import BODY, HOST, Front, serving_front
from tests.security.smuggling import Reading, Whole, framings, wholes

# The last word on each connection: no other request is answered like this.
END = b"GET /the-end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PLACEHOLDER = "k" * 32
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)


@pytest_asyncio.fixture
async def front(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    changes = {"FLASHORDER_HEADER_TIMEOUT_SECONDS": "2", "FLASHORDER_BODY_TIMEOUT_SECONDS": "2"}
    async with serving_front(redis_url, database_url, tmp_path, changes) as front:
        yield front


@dataclass(frozen=True)
class Carrier:
    """A call that carries a framed content; ``status`` is its answer to a good one."""

    name: str
    first_line: str
    signed: bool
    body: bytes
    status: int

    def cases(self, front: Front, hidden: bytes) -> Iterator[Whole]:
        """The call with each framing; ``hidden`` lies behind or within."""
        for framing in framings(self.body, hidden):
            credentials = front.credentials() if self.signed else front.credentials()[:2]
            lines = [self.first_line.format(front.path).encode(), *credentials, *framing.lines]
            request = b"\r\n".join(lines) + b"\r\n\r\n" + framing.content
            yield Whole(f"{self.name}: {framing.name}", request, framing.reading, self.status)


CARRIERS = (
    Carrier("direct", "POST {} HTTP/1.1", True, BODY, 202),
    Carrier("routed", "POST {}?by=the-router HTTP/1.1", True, BODY, 202),
    Carrier("signing in", "POST /v1/tokens HTTP/1.1", False, b'{"refresh_token":"x"}', 401),
    Carrier("reading", "GET /v1/sales HTTP/1.1", False, BODY, 200),
    Carrier("nowhere", "POST /v1/nowhere HTTP/1.1", False, BODY, 404),
)
# They answer without a look at the content, so perhaps before what is wrong with it has come.
BLIND = ("reading", "nowhere")


def answers(said: bytes) -> list[int]:
    """The statuses in what was said, which must be whole answers and nothing else."""
    statuses = []
    while said:
        head = _ANSWER.match(said)
        assert head is not None, said[:200]
        status, lines = int(head[1]), head[2].lower()
        if status != 100:
            statuses.append(status)
        length = re.search(rb"content-length: (\d+)", lines)
        said = said[head.end() :]
        # What a HEAD is answered has no content, and each content here is JSON or a line of text.
        if length is not None and not said.startswith(b"HTTP/1.1 "):
            content, said = said[: int(length[1])], said[int(length[1]) :]
            if b"application/problem+json" in lines:
                assert msgspec.json.decode(content)["status"] == status
    return statuses


async def told(front: Front, data: bytes, cut: random.Random | None) -> bytes:
    """What is said to ``data``, which comes in one segment, or cut at random places."""
    places = [] if cut is None else sorted(cut.randrange(1, len(data)) for _ in range(3))
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, (HOST, front.port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hearing = asyncio.create_task(_heard(client))
        with suppress(ConnectionError):  # refused before all of it was sent
            for begin, end in zip([0, *places], [*places, len(data)], strict=True):
                await loop.sock_sendall(client, data[begin:end])
                await asyncio.sleep(0.002 if places else 0)
        async with asyncio.timeout(10):
            return await hearing


async def _heard(client: socket.socket) -> bytes:
    """Everything until the connection ends, be it by a reset."""
    said = b""
    with suppress(ConnectionError):
        while piece := await asyncio.get_running_loop().sock_recv(client, 65536):
            said += piece
    return said


def judged(case: Whole, statuses: list[int], ran: int) -> bool:
    """Whether ``statuses``, and as many purchases as ``ran``, are what is to become of ``case``."""
    own = int(case.status == 202)
    match case.reading:
        case Reading.REFUSED:
            # A body that breaks off late is waited for in vain: 408, and closed as well.
            allowed = [[400], [408]]
            if case.name.startswith(BLIND):
                allowed += [[case.status], [case.status, 400]]
            return statuses in allowed and ran == 0
        case Reading.ANSWERED:
            return statuses == [case.status, 202, 404] and ran == own + 1
        case Reading.WITHIN:
            return statuses == [case.status, 404] and ran == 0
        case Reading.THE_LAST:
            return statuses == [case.status] and ran == own
    raise AssertionError(case.reading)


async def misread(front: Front, case: Whole, hidden: bytes, cut: random.Random | None) -> str:
    """How ``case`` was misread, with ``hidden`` behind it unless it has it within; else nothing."""
    before = await front.purchases()
    data = case.request + (b"" if case.reading is Reading.WITHIN else hidden) + END
    said = await told(front, data, cut)
    ran = await front.purchases() - before
    try:
        statuses = answers(said)
    except AssertionError as error:
        return f"{case.name}: no HTTP in {error}"
    if judged(case, statuses, ran):
        return ""
    return f"{case.name}: {statuses}, {ran} ran, and not {case.reading.name} ({case.status})"


def cases(front: Front, carriers: Sequence[Carrier]) -> Iterator[tuple[Whole, bytes]]:
    """Every case, and the purchase that is behind or within it: each a purchase of its own."""
    hidden = front.purchase(key=PLACEHOLDER)
    for carrier in carriers:
        for case in carrier.cases(front, hidden):
            yield _with_own_key(case, hidden)
    for at, _ in enumerate(wholes(front.path, b"", BODY, hidden)):
        # Credentials of its own as well.
        credentials = b"\r\n".join(front.credentials())
        every = list(wholes(front.path, credentials, BODY, hidden))
        yield _with_own_key(every[at], hidden)


def _with_own_key(case: Whole, hidden: bytes) -> tuple[Whole, bytes]:
    key = uuid.uuid4().hex.encode()
    request = case.request.replace(PLACEHOLDER.encode(), key)
    return replace(case, request=request), hidden.replace(PLACEHOLDER.encode(), key)


async def test_no_request_is_smuggled(front: Front) -> None:
    found = [await misread(front, *case, None) for case in cases(front, CARRIERS)]
    assert len(found) > 800
    assert not any(found), "\n" + "\n".join(filter(None, found))


async def test_no_request_is_smuggled_wherever_it_is_cut(front: Front) -> None:
    """The two ways of a purchase: what the kernel hands over at once decides which it goes."""
    seed = random.randrange(2**32)
    found = [
        await misread(front, case, hidden, random.Random(f"{seed} {case.name}"))
        for case, hidden in cases(front, CARRIERS[:2])
    ]
    assert not any(found), f"seed {seed}:\n" + "\n".join(filter(None, found))
