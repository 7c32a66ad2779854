"""The history: nothing that was asked is forgotten, whatever dies, and no outcome is guessed."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.faults.clients import Buyer, Clients, judged
from tests.faults.history import HistoryFile, Outcome, read_history

BUYER = Buyer("buyer", "token")
BODY = {"sku": "A", "quantity": 1}


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (202, "", Outcome.OK),
        (409, "sold_out", Outcome.REFUSED),
        (429, "rate_limited", Outcome.REFUSED),
        (503, "overloaded", Outcome.REFUSED),
        (503, "store_unavailable", Outcome.UNKNOWN),
        (409, "idempotency_in_flight", Outcome.UNKNOWN),
        (500, "internal", Outcome.UNKNOWN),
        (502, "", Outcome.UNKNOWN),
    ],
)
def test_an_answer_is_judged_by_what_it_promises(status: int, code: str, outcome: Outcome) -> None:
    assert judged(status, code) is outcome


def test_what_was_asked_is_in_the_file_before_there_is_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with HistoryFile(path) as file:
        asked = file.asks("buy", "buyer", "sale", "key", BODY)
        (call,) = read_history(path).calls
        assert (call.outcome, call.answered_at) == (Outcome.UNKNOWN, math.inf)
        file.answers(asked, Outcome.OK, 202, "", {"order_id": "1"})
    (call,) = read_history(path).calls
    assert (call.outcome, call.body) == (Outcome.OK, {"order_id": "1"})
    assert call.asked_at <= call.answered_at < math.inf


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with HistoryFile(path) as file:
        file.asks("buy", "buyer", "sale", "key", BODY)
        file.asks("buy", "buyer", "sale", "key", BODY)
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    assert [call.asked.number for call in read_history(path).calls] == [1]


async def test_a_harness_that_is_killed_has_lost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    program = (
        "import pathlib, sys, time\n"
        "from tests.faults.history import HistoryFile\n"
        "with HistoryFile(pathlib.Path(sys.argv[1])) as file:\n"
        "    for n in range(100):\n"
        "        file.asks('buy', 'buyer', 'sale', str(n), {})\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"written\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    assert len(read_history(path).calls) == 100


@pytest_asyncio.fixture
async def moody_server() -> AsyncIterator[str]:
    """Answers by the key: with its status and code, cut off, or never."""

    async def buy(request: web.Request) -> web.StreamResponse:
        mood = request.headers["Idempotency-Key"]
        if mood == "silent":
            await asyncio.sleep(60)
        if mood == "reset":
            assert request.transport is not None
            request.transport.abort()
        if mood == "html":
            return web.Response(text="<html>", content_type="text/html")
        status, code = mood.split()
        return web.json_response({"code": code}, status=int(status))

    app = web.Application()
    app.router.add_post("/v1/sales/{sale}/orders", buy)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("mood", "outcome", "code"),
    [
        ("202 x", Outcome.OK, ""),
        ("409 sold_out", Outcome.REFUSED, "sold_out"),
        ("503 store_unavailable", Outcome.UNKNOWN, "store_unavailable"),
        ("silent", Outcome.UNKNOWN, "TimeoutError"),
        ("reset", Outcome.UNKNOWN, "ServerDisconnectedError"),
        ("html", Outcome.UNKNOWN, "DecodeError"),
    ],
)
async def test_a_client_writes_down_what_it_was_told(
    moody_server: str, tmp_path: Path, mood: str, outcome: Outcome, code: str
) -> None:
    path = tmp_path / "history.jsonl"
    with HistoryFile(path) as file:
        async with aiohttp.ClientSession() as session:
            clients = Clients(session, moody_server, file, timeout_seconds=0.3)
            told = await clients.buy(BUYER, str(uuid.uuid4()), mood, BODY)
    (call,) = read_history(path).calls
    assert call == told
    assert (call.outcome, call.code) == (outcome, code)
    assert call.asked.body == BODY
