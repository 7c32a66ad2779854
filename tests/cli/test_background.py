"""``flashorder consume`` and ``flashorder work`` as a supervisor runs them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from flashorder.infra.postgres.pool import connect_postgres
from flashorder.infra.redis.connection import connect_redis
from tests.consumer.shop import Shop


@asynccontextmanager
async def command(*argv: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    kept = {name: value for name, value in os.environ.items() if "FLASHORDER" not in name}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flashorder.cli", *argv,
        env=kept | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def stop(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(15):
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_they_give_way_to_who_answers_somebody(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    environment = {
        "FLASHORDER_REDIS_URL": redis_url,
        "FLASHORDER_DATABASE_URL": database_url,
        "FLASHORDER_DATA_DIR": str(tmp_path),
        "FLASHORDER_SECRET": "of the tests",
    }
    for niceness, expected in (("7", max(own, 7)), ("0", own)):
        async with command(
            "consume", "--json", **environment, FLASHORDER_BACKGROUND_NICENESS=niceness
        ) as consume:
            assert consume.stdout is not None
            async with asyncio.timeout(30):
                assert b'"ready"' in await consume.stdout.readline()
            assert os.getpriority(os.PRIO_PROCESS, consume.pid) == expected
            consume.terminate()
            await consume.wait()


async def test_an_order_goes_through_both_and_both_stop_when_asked(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    pool = await connect_postgres(database_url, connections_max=2)
    redis = connect_redis(redis_url)
    shop = await Shop.open(pool, redis)
    bought = await shop.buy()
    port = free_port()
    environment = {
        "FLASHORDER_REDIS_URL": redis_url,
        "FLASHORDER_DATABASE_URL": database_url,
        "FLASHORDER_DATA_DIR": str(tmp_path),
        "FLASHORDER_SECRET": "of the tests",
    }
    try:
        async with (
            command("consume", **environment, FLASHORDER_METRICS_PORT=str(port)) as consume,
            command("work", **environment) as work,
        ):
            deadline = time.monotonic() + 30
            while not await pool.fetchval(
                "SELECT count(*) FROM outbox WHERE processed_at IS NOT NULL AND key = $1",
                bought.order_id,
            ):
                assert time.monotonic() < deadline
                assert consume.returncode is None
                assert work.returncode is None
                await asyncio.sleep(0.05)
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"http://127.0.0.1:{port}/metrics") as answer,
            ):
                told = await answer.text()
            assert 'flashorder_consumer_applied_orders_total{role="consumer"} 1.0' in told
            await stop(consume)
            await stop(work)
    finally:
        await redis.aclose()
        await pool.close()


@pytest.mark.parametrize("name", ["consume", "work"])
async def test_without_stores_it_says_what_to_do(name: str, tmp_path: Path) -> None:
    async with command(name, FLASHORDER_DATA_DIR=str(tmp_path)) as process:
        _, errors = await process.communicate()
    assert process.returncode == 3
    assert f"no running flashorder up in {tmp_path}" in errors.decode()
    assert "Traceback" not in errors.decode()


@pytest.mark.parametrize(("name", "role"), [("consume", "consumer"), ("work", "worker")])
async def test_programs_hear_in_json_that_it_works(
    redis_url: str, database_url: str, tmp_path: Path, name: str, role: str
) -> None:
    environment = {
        "FLASHORDER_REDIS_URL": redis_url,
        "FLASHORDER_DATABASE_URL": database_url,
        "FLASHORDER_DATA_DIR": str(tmp_path),
        "FLASHORDER_LOG_FORMAT": "console",
        "FLASHORDER_LOG_LEVEL": "debug",
    }
    async with command(name, "--json", **environment) as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert json.loads(line) == {"ready": role, "pid": process.pid}
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0, log
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())
