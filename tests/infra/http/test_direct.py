"""Direct calls over real sockets: the same answers as by the router, and a connection's whole life.

They fail as well when aiohttp changes what ``DirectConnection`` relies on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from flashorder.infra.http.answers import Answer
from flashorder.infra.http.endpoint import Call, Endpoint, Reply, Settle
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.kernel.errors import Conflict
from tests.infra.http.serving import Served, make_settings, served

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A body."""

    sku: str


@dataclass
class Desk:
    """A direct call that the test settles: by itself when told so, else when it is asked to."""

    at_once: bool = True
    declines: bool = False
    waiting: list[tuple[str, Settle]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, call: Call, settle: Settle) -> bool:
        if self.declines:
            return False
        if call.body.sku == "none":
            raise Conflict("there is none", code="sold_out")
        self.waiting.append((call.body.sku, settle))
        self.arrived.set()
        if self.at_once:
            self.settle()
        return True

    def settle(self) -> None:
        sku, settle = self.waiting.pop(0)
        settle(Answer(200, msgspec.json.encode({"direct": True, "sku": sku})))

    async def handle(self, call: Call) -> Reply:
        if call.body.sku == "none":
            raise Conflict("there is none", code="sold_out")
        return Reply(200, {"direct": False, "name": call.path["name"], "sku": call.body.sku})

    def endpoint(self) -> Endpoint:
        return Endpoint(
            "POST",
            "/v1/things/{name}/wishes",
            self.handle,
            summary="Wish",
            tag="t",
            body=Wish,
            replies={200: dict[str, Any]},
            direct=self.begin,
        )

    async def until_waiting(self) -> None:
        async with asyncio.timeout(5):
            await self.arrived.wait()
        self.arrived.clear()


def wish(sku: str, path: str = "/v1/things/a/wishes", *lines: str) -> bytes:
    body = msgspec.json.encode({"sku": sku})
    more = "".join(f"{line}\r\n" for line in lines)
    return (
        f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{more}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class Reading:
    """The answers of one connection, in order."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body."""
        async with asyncio.timeout(5):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await self._reader.readexactly(int(headers["Content-Length"]))
        return int(head[0].split()[1]), headers, msgspec.json.decode(body)

    async def ends(self) -> bool:
        """Whether the server closes, with nothing more said."""
        async with asyncio.timeout(5):
            return await self._reader.read() == b""


@asynccontextmanager
async def connected(
    desk: Desk, metrics: Metrics | None = None, **settings: Any
) -> AsyncIterator[tuple[Served, Reading, asyncio.StreamWriter]]:
    async with served([desk.endpoint()], settings=make_settings(**settings), metrics=metrics) as up:
        reader, writer = await up.connect()
        try:
            yield up, Reading(reader), writer
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("path", "name", "direct"),
    [
        ("/v1/things/a-1/wishes", "a-1", True),
        ("/v1/things/a-1/wishes?x=1", "a-1", False),
        ("/v1/things/a%2D1/wishes", "a-1", False),
        ("/v1/things/a+1/wishes", "a+1", False),
    ],
)
async def test_what_is_plain_is_served_directly(path: str, name: str, direct: bool) -> None:
    async with connected(Desk()) as (_, reading, writer):
        for _ in range(3):
            writer.write(wish("x", path))
            status, _, body = await reading.answer()
            assert (status, body["direct"]) == (200, direct)
            assert direct or body["name"] == name


async def test_refusals_are_the_same_and_counted_in_one_series() -> None:
    metrics = Metrics()
    async with connected(Desk(), metrics) as (up, _, _):
        url = "/v1/things/a/wishes"
        for path, body, status in [
            (url, {"sku": "x", "more": 1}, 422),
            (f"{url}?x=1", {"sku": "x", "more": 1}, 422),
            (url, {"sku": "none"}, 409),
            (f"{url}?x=1", {"sku": "none"}, 409),
            ("/v1/things/a/b/wishes", {"sku": "x"}, 404),
            (f"/v1/things/{'a' * 257}/wishes", {"sku": "x"}, 404),
            ("/v1/things/a%00/wishes", {"sku": "x"}, 404),
        ]:
            async with up.client.post(path, json=body) as answer:
                assert (answer.status, answer.content_type) == (status, "application/problem+json")
        async with up.client.get(url) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    sample = 'flashorder_http_requests_total{method="POST",route="/v1/things/{name}/wishes",status='
    exposed = metrics.exposition()
    assert f'{sample}"422"}} 2.0'.encode() in exposed
    assert f'{sample}"409"}} 2.0'.encode() in exposed
    assert exposed.count(f'{sample}"422"'.encode()) == 1


async def test_a_failure_carries_the_trace_of_its_request_and_of_no_other() -> None:
    async with connected(Desk()) as (_, reading, writer):
        writer.write(
            wish("none", "/v1/things/a/wishes", f"Traceparent: 00-{TRACE_ID}-{'1' * 16}-01")
        )
        _, _, problem = await reading.answer()
        assert (problem["trace_id"], problem["code"]) == (TRACE_ID, "sold_out")
        assert problem["instance"] == "/v1/things/a/wishes"
        writer.write(wish("none"))
        _, _, problem = await reading.answer()
        assert problem["trace_id"] != TRACE_ID


async def test_what_has_to_be_awaited_is_awaited() -> None:
    async with connected(Desk(declines=True)) as (_, reading, writer):
        writer.write(wish("x") + wish("y"))
        for sku in "xy":
            assert (await reading.answer())[2] == {"direct": False, "name": "a", "sku": sku}
        writer.write(wish("none"))
        assert (await reading.answer())[0] == 409
        writer.write(wish("z"))
        assert (await reading.answer())[2]["sku"] == "z"


async def test_expectations_are_met_and_a_late_body_is_waited_for() -> None:
    async with connected(Desk()) as (up, reading, writer):
        reader, slow = await up.connect()
        head, _, body = wish("x", "/v1/things/a/wishes", "Expect: 100-continue").partition(
            b"\r\n\r\n"
        )
        slow.write(head + b"\r\n\r\n")
        async with asyncio.timeout(5.0):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            slow.write(body)
            assert (await Reading(reader).answer())[2]["direct"] is False
        slow.close()
        head, _, body = wish("y").partition(b"\r\n\r\n")
        for piece in (head[:30], head[30:], b"\r\n\r\n", body[:4], body[4:]):
            writer.write(piece)
            await asyncio.sleep(0.005)
        assert (await reading.answer())[2]["sku"] == "y"
        writer.write(wish("z"))
        assert (await reading.answer())[2] == {"direct": True, "sku": "z"}


async def test_what_comes_while_one_is_in_flight_is_answered_after_it() -> None:
    desk = Desk(at_once=False)
    async with connected(desk) as (_, reading, writer):
        writer.write(wish("1"))
        await desk.until_waiting()
        writer.write(wish("2") + b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" + wish("3"))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.sleep(0.02)
        assert len(desk.waiting) == 1
        desk.settle()
        desk.at_once = True
        said = [await reading.answer() for _ in range(5)]
        assert [body.get("sku") for _, _, body in said] == ["1", "2", None, "3", None]
        writer.write(wish("4"))
        assert (await reading.answer())[2] == {"direct": True, "sku": "4"}


async def test_one_that_waits_behind_another_is_direct_as_well() -> None:
    desk = Desk(at_once=False)
    async with connected(desk) as (_, reading, writer):
        writer.write(wish("1"))
        await desk.until_waiting()
        writer.write(wish("2"))
        await asyncio.sleep(0.02)
        desk.settle()
        await desk.until_waiting()
        desk.settle()
        for sku in "12":
            assert (await reading.answer())[2] == {"direct": True, "sku": sku}


async def test_what_is_not_http_after_a_direct_call_is_refused_and_closed() -> None:
    async with connected(Desk()) as (_, reading, writer):
        writer.write(wish("x"))
        assert (await reading.answer())[0] == 200
        writer.write(b"what is this\r\n\r\n")
        status, _, problem = await reading.answer()
        assert (status, problem["code"]) == (400, "malformed_request")
        assert await reading.ends()


async def test_a_client_that_leaves_in_flight_leaves_nothing_behind() -> None:
    desk = Desk(at_once=False)
    async with connected(desk, connections_max=2) as (up, reading, writer):
        before = len(asyncio.all_tasks())
        for _ in range(5):
            _, leaving = await up.connect()
            leaving.write(wish("1"))
            await desk.until_waiting()  # so there was room for it
            leaving.transport.abort()
            async with asyncio.timeout(5):
                while len(asyncio.all_tasks()) > before:  # aiohttp's task has ended
                    await asyncio.sleep(0.005)
        while desk.waiting:
            desk.settle()  # nobody hears it, and nobody is disturbed
        desk.at_once = True
        writer.write(wish("2"))
        assert (await reading.answer())[2]["sku"] == "2"


async def test_idle_connections_end_and_one_in_flight_does_not() -> None:
    desk = Desk(at_once=False)
    async with connected(desk, keepalive_timeout_seconds=0.1) as (_, reading, writer):
        writer.write(wish("1"))
        await desk.until_waiting()
        await asyncio.sleep(0.3)
        desk.settle()
        assert (await reading.answer())[2]["sku"] == "1"
        writer.write(wish("2"))
        await desk.until_waiting()
        desk.settle()
        assert (await reading.answer())[2]["sku"] == "2"
        assert await reading.ends()


async def test_a_head_after_a_direct_call_has_its_deadline() -> None:
    async with connected(Desk(), header_timeout_seconds=0.1) as (_, reading, writer):
        writer.write(wish("1"))
        assert (await reading.answer())[0] == 200
        writer.write(b"POST /v1/things")
        assert (await reading.answer())[0] == 408
        assert await reading.ends()


async def test_one_in_flight_has_no_deadline_though_more_arrives() -> None:
    desk = Desk(at_once=False)
    async with connected(desk, header_timeout_seconds=0.1) as (_, reading, writer):
        for sku in "12":
            writer.write(wish(sku))
            await desk.until_waiting()
            writer.write(wish(f"{sku}b"))
            await asyncio.sleep(0.3)
            desk.settle()
            await desk.until_waiting()
            desk.settle()
            assert [(await reading.answer())[2]["sku"] for _ in range(2)] == [sku, f"{sku}b"]


async def test_a_shutdown_waits_for_what_is_in_flight() -> None:
    desk = Desk(at_once=False)
    async with connected(desk) as (up, reading, writer):
        writer.write(wish("1"))
        await desk.until_waiting()
        up.stopping.set()
        await asyncio.sleep(0.05)
        assert not up.server.done()
        desk.settle()
        status, headers, body = await reading.answer()
        assert (status, body["sku"], headers["Connection"]) == (200, "1", "close")
        assert await reading.ends()
        async with asyncio.timeout(5):
            await up.server


async def test_a_shutdown_does_not_wait_for_ever() -> None:
    desk = Desk(at_once=False)
    async with connected(desk, drain_timeout_seconds=0.2) as (up, reading, writer):
        writer.write(wish("1"))
        await desk.until_waiting()
        up.stopping.set()
        async with asyncio.timeout(5):
            await up.server
        assert await reading.ends()
        desk.settle()


async def test_who_wants_the_connection_closed_has_it_closed() -> None:
    async with connected(Desk()) as (_, reading, writer):
        writer.write(wish("1", "/v1/things/a/wishes", "Connection: close"))
        status, headers, body = await reading.answer()
        assert (status, headers["Connection"], body["direct"]) == (200, "close", True)
        assert await reading.ends()


def numbered(count: int) -> Iterator[str]:
    return (f"{number:05d}" for number in range(count))


async def test_a_client_that_reads_late_is_answered_in_order() -> None:
    async with connected(Desk()) as (_, reading, writer):
        count = 3000
        for sku in numbered(count):
            writer.write(wish(sku))
        sending = asyncio.create_task(writer.drain())
        await asyncio.sleep(0.05)
        said = [(await reading.answer())[2]["sku"] for _ in range(count)]
        assert said == list(numbered(count))
        await sending


async def test_beyond_what_can_be_decided_in_time_a_request_is_refused_unseen() -> None:
    """Two may always be in hand; a third would wait for as long as those are measured to take."""
    metrics = Metrics()
    desk = Desk(at_once=False)
    bounds = {"batch_purchases_max": 1, "purchase_wait_seconds_max": 1e-9}
    async with connected(desk, metrics, **bounds) as (up, _, _), AsyncExitStack() as stack:
        clients = []
        for _ in range(3):
            reader, writer = await up.connect()
            stack.callback(writer.close)
            clients.append((Reading(reader), writer))

        async def served_two() -> None:
            for reading, _ in clients[:2]:
                desk.settle()
                assert (await reading.answer())[0] == 200

        async def two_in_hand() -> None:
            for _, writer in clients[:2]:
                writer.write(wish("x"))
                await desk.until_waiting()

        await two_in_hand()
        await served_two()
        await two_in_hand()
        third, writer = clients[2]
        for body in ("x", "none"):
            writer.write(
                wish(body, "/v1/things/a/wishes", f"traceparent: 00-{TRACE_ID}-{1:016x}-00")
            )
            status, headers, problem = await third.answer()
            assert (status, problem["code"]) == (503, "overloaded")
            assert int(headers["Retry-After"]) >= 1
            assert headers["Content-Type"] == "application/problem+json"
            assert problem["trace_id"] == TRACE_ID
        assert len(desk.waiting) == 2, "the handler was not asked"
        assert (
            'flashorder_http_failures_total{code="overloaded"} 2.0' in metrics.exposition().decode()
        )
        await served_two()
        writer.write(wish("x"))
        await desk.until_waiting()
        desk.settle()
        assert (await third.answer())[0] == 200, "there is room again, on the same connection"
