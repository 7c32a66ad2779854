"""What ``flashorder loadtest`` asks before it issues anything, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from flashorder.cli.loadtest_progress import TELL_SECONDS, Progress
from flashorder.cli.loadtest_sale import require_sale
from flashorder.kernel.errors import Misconfigured, Unavailable

PROJECT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    """A service with one sale in each of three states."""

    async def read(request: web.Request) -> web.Response:
        status = request.match_info["sale_id"]
        if status == "broken":
            return web.Response(text="<html>", status=200)
        if status == "away":
            return web.json_response({"detail": "the store is away"}, status=503)
        if status not in ("open", "closed", "settled"):
            return web.json_response({"detail": "There is no such sale."}, status=404)
        return web.json_response({"sale_id": status, "status": status})

    async def listing(_: web.Request) -> web.Response:
        return web.json_response({"items": []})

    app = web.Application()
    app.router.add_get("/v1/sales", listing)
    app.router.add_get("/v1/sales/{sale_id}", read)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def loadtest(folder: Path, *arguments: str) -> tuple[int | None, str]:
    """Exit code and standard error; there is no database: tokens cannot be issued at all."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flashorder.cli", "loadtest", *arguments),
        *("--users", "5", "--duration", "2s", "--report", str(folder / "report")),
        env={
            **{name: value for name, value in os.environ.items() if "FLASHORDER" not in name},
            "FLASHORDER_DATA_DIR": str(folder),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, said.decode()


async def test_an_unknown_sale_is_wrong_use(tmp_path: Path, url: str) -> None:
    code, said = await loadtest(tmp_path, "--url", url, "--sale", "nosuch")
    assert code == 2
    assert "GET /v1/sales/nosuch: 404 There is no such sale." in said
    assert "issuing" not in said
    assert not (tmp_path / "report").exists()


async def test_nobody_at_the_address_is_told_before_tokens_are_issued(
    tmp_path: Path, nobody: str
) -> None:
    code, said = await loadtest(tmp_path, "--url", nobody)
    assert code == 3
    assert f"{nobody} does not answer" in said
    assert "issuing" not in said


@pytest.mark.parametrize("sale", ["closed", "settled", "no/../such", "broken"])
async def test_where_nobody_can_buy_no_load_goes(url: str, sale: str) -> None:
    with pytest.raises(Misconfigured):
        await require_sale(url, sale)


async def test_a_service_without_its_store_is_away(url: str) -> None:
    with pytest.raises(Unavailable, match="store is away"):
        await require_sale(url, "away")


async def test_an_open_sale_or_none_will_do(url: str) -> None:
    await require_sale(url, "open")
    await require_sale(url, "")
    with pytest.raises(Misconfigured):
        await require_sale(url.removeprefix("http://"), "")


def test_progress_is_a_line_every_few_seconds_where_there_is_no_terminal(tmp_path: Path) -> None:
    samples, stream, now = tmp_path / "samples.jsonl", io.StringIO(), [100.0]
    progress = Progress(samples, 50.0, stream, lambda: now[0])
    progress.tell()
    sample = {
        "at": 57.0, "users": 3, "per_second": 9.0, "p95_ms": None, "requests": 12, "failures": 1,
        "remaining": 4,
    }  # fmt: skip
    samples.write_text(json.dumps(sample) + "\n")
    for _ in range(3):
        progress.tell()
    now[0] += TELL_SECONDS
    progress.tell()
    assert stream.getvalue().splitlines() == [
        "waiting for the first visitors",
        "+7 s  3 visitors  9/s  p95 0 ms  12 answers, 1 failed  4 units left",
    ]


def test_the_default_report_leaves_the_checkout_clean() -> None:
    assert "loadtest-report/" in (PROJECT / ".gitignore").read_text().splitlines()
