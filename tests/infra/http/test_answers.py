"""Answers as ready-made bytes behave as aiohttp's own."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

import msgspec
import pytest
from aiohttp import web

from flashorder.infra.http.answers import header_lines
from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from tests.infra.http.serving import served


def answering(reply: Reply, method: str = "GET") -> Endpoint:
    async def handler(call: Call) -> Reply:
        return reply

    return Endpoint(method, "/x", handler, "s", "t", replies={reply.status: None})


async def test_head_says_what_get_would_without_the_body() -> None:
    async with served([answering(Reply(200, {"a": 1}))]) as site:
        async with site.client.get("/x") as got:
            assert await got.json() == {"a": 1}
        async with site.client.head("/x") as asked:
            assert await asked.read() == b""
            assert asked.headers["Content-Length"] == got.headers["Content-Length"] == "7"
        async with site.client.get("/x") as again:  # on the same connection, still in step
            assert await again.json() == {"a": 1}


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_by_nature(status: int) -> None:
    async with served([answering(Reply(status))]) as site:
        for _ in range(2):
            async with site.client.get("/x") as answer:
                assert answer.status == status
                assert "Content-Length" not in answer.headers


async def test_an_empty_body_says_so() -> None:
    async with served([answering(Reply(200))]) as site, site.client.get("/x") as answer:
        assert answer.headers["Content-Length"] == "0"
        assert "Content-Type" not in answer.headers


async def test_every_answer_is_dated_private_and_never_guessed_at() -> None:
    reply = Reply(202, msgspec.Raw(b'{"raw":true}'), {"Location": "/y"})
    async with served([answering(reply)]) as site, site.client.get("/x") as answer:
        assert await answer.text() == '{"raw":true}'
        assert answer.headers["Location"] == "/y"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert parsedate_to_datetime(answer.headers["Date"])


async def test_an_answer_may_be_kept_where_it_says_so() -> None:
    reply = Reply(200, {}, {"Cache-Control": "max-age=5"})
    async with served([answering(reply)]) as site, site.client.get("/x") as answer:
        assert answer.headers.getall("Cache-Control") == ["max-age=5"]


async def test_another_content_type_than_json() -> None:
    reply = Reply(200, b"%PDF", {"Content-Type": "application/pdf"})
    async with served([answering(reply)]) as site, site.client.get("/x") as answer:
        assert answer.headers.getall("Content-Type") == ["application/pdf"]
        assert await answer.read() == b"%PDF"


async def test_a_client_that_left_before_its_answer_disturbs_nobody() -> None:
    entered, go_on, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(call: Call) -> Reply:
        entered.set()
        await go_on.wait()
        left.set()
        return Reply(200, {"late": True})

    waiting = Endpoint("GET", "/wait", handler, "s", "t", replies={200: None})
    async with served([waiting, answering(Reply(200, {}))]) as site:
        _, writer = await site.connect()
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await entered.wait()
        writer.transport.abort()
        async with site.client.get("/x"):  # a round trip: the server has noticed by now
            pass
        go_on.set()
        await left.wait()
        async with site.client.get("/x") as answer:
            assert answer.status == 200


async def test_a_client_that_does_not_read_holds_up_nobody_else() -> None:
    big = Reply(200, b"x" * 20_000_000, {"Content-Type": "text/plain"})
    small = Endpoint("GET", "/small", answering(Reply(200, {})).handler, "s", "t")
    async with served([answering(big), small]) as site:
        _, writer = await site.connect()
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        async with site.client.get("/small") as answer:
            assert answer.status == 200
        async with site.client.get("/x") as answer:
            assert len(await answer.read()) == 20_000_000
        writer.transport.abort()


async def test_a_handler_may_write_the_response_itself() -> None:
    async def events(call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(call.request)
        for number in range(3):
            await response.write(b"data: %d\n\n" % number)
        return response

    endpoint = Endpoint(
        "GET", "/events", events, "s", "t", replies={200: str},
        reply_content_type="text/event-stream",
    )  # fmt: skip
    async with served([endpoint]) as site:
        async with site.client.get("/events") as answer:
            assert await answer.text() == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
        async with site.client.head("/events") as asked:
            assert asked.status == 405


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0b", "日本"])
def test_a_header_value_that_cannot_be_one(value: str) -> None:
    with pytest.raises(ValueError, match=r"line break|latin-1"):
        header_lines({"X": value})
