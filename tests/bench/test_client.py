"""The client that keeps a schedule: how it reads answers, and a whole plan against a server."""

from __future__ import annotations

import asyncio
import json
from array import array
from pathlib import Path

import pytest
from aiohttp import web

from bench.load.client import Client, outcome_of, percentile
from bench.load.scheduled import Scheduled


def test_an_outcome_is_a_status_and_a_code() -> None:
    assert outcome_of(b"HTTP/1.1 202 Accepted", b"{}") == "202"
    body = b'{"type":"about:blank","code":"sold_out"}'
    assert outcome_of(b"HTTP/1.1 409 Conflict\r\nX: y", body) == "409 sold_out"
    assert outcome_of(b"HTTP/1.1 502 Bad Gateway", b"<html>") == "502 untyped"


def test_percentiles_are_values_that_were_seen() -> None:
    values = array("d", [float(each) for each in range(100, 0, -1)])
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1.0) == 100
    assert percentile(array("d"), 0.99) == 0


async def _answer(request: web.Request) -> web.Response:
    """Accept two of three; refuse the third without Retry-After; keys must not repeat."""
    keys: set[str] = request.app[KEYS]
    keys.add(request.headers["Idempotency-Key"])
    await request.read()
    if len(keys) % 3 == 0:
        return web.json_response({"code": "overloaded"}, status=503)
    return web.json_response({"order_id": f"order-{len(keys)}"}, status=202)


KEYS: web.AppKey[set[str]] = web.AppKey("keys", set)


async def test_a_plan_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = web.Application()
    app[KEYS] = set()
    app.router.add_post("/orders", _answer)
    buyers = tmp_path / "buyers.txt"
    buyers.write_text("X-Buyer: a\nX-Buyer: b\n")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        plan = {
            "port": runner.addresses[0][1], "path": "/orders", "body": "{}",
            "buyers": str(buyers), "count": 30, "connections": 30, "over_seconds": 0.05,
            "start_at": None, "wait_seconds": 5.0, "sample_every": 10,
        }  # fmt: skip
        tally = await Client(plan).run()
    finally:
        await runner.cleanup()
    done = Scheduled(**tally)
    assert (done.sent, done.unsent, done.lost, done.untyped) == (30, 0, 0, 0)
    assert done.outcomes == {"202": 20, "503 overloaded": 10}
    assert done.without_retry_after == 10
    assert len(app[KEYS]) == 30
    samples = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["order"][:6] for each in samples] == ["order-"] * 2
    await asyncio.sleep(0)  # the transports close
