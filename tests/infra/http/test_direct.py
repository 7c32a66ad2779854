"""Calls that are found before the router: the same answers, and what is not plainly one goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from flashorder.infra.http.endpoint import Call, Endpoint, Reply
from flashorder.infra.telemetry.metrics import Metrics
from tests.infra.http.serving import served


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A body."""

    sku: str


async def tell(call: Call) -> Reply:
    """How the call was found: only the router leaves a match."""
    try:
        found = call.request.match_info is not None
    except AssertionError:
        found = False
    return Reply(200, {"routed": found, "name": call.path["name"], "sku": call.body.sku})


CALL = Endpoint(
    "POST",
    "/v1/things/{name}/wishes",
    tell,
    summary="Wish",
    tag="t",
    body=Wish,
    replies={200: dict[str, Any]},
    direct=True,
)


@pytest.mark.parametrize(
    ("path", "name", "routed"),
    [
        ("/v1/things/a-1/wishes", "a-1", False),
        ("/v1/things/a-1/wishes?x=1", "a-1", True),
        ("/v1/things/a%2D1/wishes", "a-1", True),
        ("/v1/things/a+1/wishes", "a+1", True),
    ],
)
async def test_what_is_plain_passes_by_the_router(path: str, name: str, routed: bool) -> None:
    """Fails as well when aiohttp no longer asks the handler that is put in front."""
    async with served([CALL]) as up:
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 11\r\n\r\n"
        said = await up.raw(head.encode() + b'{"sku":"x"}')
    assert said.startswith(b"HTTP/1.1 200 ")
    body = msgspec.json.decode(said.partition(b"\r\n\r\n")[2])
    assert body == {"routed": routed, "name": name, "sku": "x"}


async def test_refusals_are_the_same() -> None:
    metrics = Metrics()
    async with served([CALL], metrics=metrics) as up:
        url = "/v1/things/a/wishes"
        for path, body, status in [
            (url, {"sku": "x", "more": 1}, 422),
            (f"{url}?x=1", {"sku": "x", "more": 1}, 422),
            ("/v1/things/a/b/wishes", {"sku": "x"}, 404),
            (f"/v1/things/{'a' * 257}/wishes", {"sku": "x"}, 404),
            ("/v1/things/a%00/wishes", {"sku": "x"}, 404),
        ]:
            async with up.client.post(path, json=body) as answer:
                assert (answer.status, answer.content_type) == (status, "application/problem+json")
        async with up.client.get(url) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    sample = 'flashorder_http_requests_total{method="POST",route="/v1/things/{name}/wishes",status='
    assert f'{sample}"422"}} 2.0'.encode() in metrics.exposition()


async def test_expectations_are_met_and_a_late_body_is_waited_for() -> None:
    async with served([CALL]) as up:
        reader, writer = await up.connect()
        writer.write(
            b"POST /v1/things/a/wishes HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: 11\r\n\r\n"
        )
        async with asyncio.timeout(5.0):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b'{"sku":"x"}')
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            await reader.readuntil(b"}")
            writer.write(
                b"POST /v1/things/a/wishes HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: 11\r\n\r\n"
            )
            await asyncio.sleep(0.02)
            writer.write(b'{"sku":"y"}')
            said = await reader.read()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert b'"routed":false' in said
        writer.close()
