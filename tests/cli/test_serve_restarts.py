"""``flashorder serve`` and its signals: replaced without a lost request, read anew, hung up."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import socket
import termios
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import TokenSigner
from flashorder.infra.postgres.pool import connect_postgres
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.inventory.ledger import StockLedger
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.sales.front import SaleFront
from flashorder.sales.model import DraftItem, SaleDraft
from flashorder.sales.service import SalesService
from flashorder.settings import Settings
from flashorder.standalone.demonstration import import_shipped_catalogue
from tests.cli.test_serve import serving, url_of
from tests.infra.http.worker_group import Load, under

# Each starts several processes, which takes its time on a machine that is busy.
pytestmark = pytest.mark.timeout(240)
COUNT = 2
UNITS = 100_000
ANSWERS_BETWEEN = 100


class Serving:
    """Workers of the real service, and what is told of them."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, url: str) -> None:
        self.process = process
        self.folder = folder
        self.url = url

    def pids(self) -> list[int]:
        """Who serves, by the ready file."""
        pids: list[int] = msgspec.json.decode((self.folder / "ready.json").read_bytes())["workers"]
        return pids

    async def next_pids(self) -> list[int]:
        """When other workers serve."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 90)
        assert line.startswith(b"serving http://"), line
        return self.pids()

    async def logged(self, event: bytes) -> None:
        """Wait for a line of the log."""
        assert self.process.stderr is not None
        async with asyncio.timeout(90):
            while event not in (line := await self.process.stderr.readline()):
                assert line, "the log has ended"


@asynccontextmanager
async def workers(
    redis_url: str, database_url: str, folder: Path, count: int = COUNT, **environment: str
) -> AsyncIterator[Serving]:
    arguments = ("--workers", str(count), "--ready-file", str(folder / "ready.json"))
    async with serving(
        redis_url, database_url, folder / "data", *arguments, changes=environment
    ) as process:
        yield Serving(process, folder, await url_of(process))


class Purchases(Load):
    """Each by another buyer, with a key of its own: the answer is an order of its own."""

    def __init__(self, url: str, sale_id: uuid.UUID, sku: str, settings: Settings) -> None:
        super().__init__(url)
        self._path = f"/v1/sales/{sale_id}/orders"
        self._sku = sku
        self._signer = TokenSigner.of(settings)
        self.orders: set[str] = set()

    def send(self, client: aiohttp.ClientSession, number: int) -> Any:
        token = self._signer.sign(new_id(), Role.SHOPPER, uuid.uuid4().hex)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"purchase-{number}"}
        return client.post(self._path, json={"sku": self._sku, "quantity": 1}, headers=headers)

    def is_right(self, number: int, status: int, said: Any) -> bool:
        if status != 202 or said["order_id"] in self.orders:
            return False
        self.orders.add(said["order_id"])
        return True


async def open_sale(settings: Settings) -> tuple[uuid.UUID, str]:
    """A sale of one SKU with more units than are bought."""
    await import_shipped_catalogue(settings)
    redis = connect_redis(settings.required_redis_url())
    pool = await connect_postgres(settings.required_database_url(), connections_max=1)
    try:
        sku: str = await pool.fetchval("SELECT sku FROM products ORDER BY sku LIMIT 1")
        sales = SalesService(pool, SaleFront(redis, 1), StockLedger(), settings)
        now = datetime.now(UTC)
        item = DraftItem(sku, UNITS, Money(1999, "GBP"), 1)
        draft = SaleDraft("Restarts", now - timedelta(minutes=1), now + timedelta(hours=1), (item,))
        sale = await sales.create(draft, actor="test")
        await sales.open(sale.sale_id)
        return sale.sale_id, sku
    finally:
        await pool.close()
        await redis.aclose()


async def units_taken(settings: Settings) -> int:
    """What the store has sold: an entry of the stream each, which nobody reads here."""
    redis = connect_redis(settings.required_redis_url())
    try:
        return int(await redis.xlen(keys.intents(0)))
    finally:
        await redis.aclose()


async def test_no_purchase_fails_while_workers_are_replaced(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    settings = Settings.model_validate(
        {"redis_url": redis_url, "database_url": database_url, "data_dir": tmp_path / "data"}
    )
    sale_id, sku = await open_sale(settings)
    # Clients that come back late, on a machine that is busy, are no failure of ours.
    patient = {"FLASHORDER_DRAIN_TIMEOUT_SECONDS": "40", "FLASHORDER_DRAIN_LINGER_SECONDS": "20"}
    async with workers(redis_url, database_url, tmp_path, **patient) as running:
        served = running.pids()
        load = Purchases(running.url, sale_id, sku, settings)
        async with under(load, kept=4, new=4):
            await load.answers(ANSWERS_BETWEEN)
            running.process.send_signal(signal.SIGHUP)
            for _ in range(COUNT):
                served += await running.next_pids()
            await load.answers(ANSWERS_BETWEEN)
            os.kill(running.pids()[0], signal.SIGTERM)
            served += await running.next_pids()
            await load.answers(ANSWERS_BETWEEN)
    assert running.process.returncode == 0
    assert len(set(served)) == COUNT + COUNT + 1
    assert not load.failures
    assert await units_taken(settings) == load.answered


def two_free_ports() -> int:
    """The first of two neighbours."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port: int = one.getsockname()[1]
            try:
                with socket.create_server(("127.0.0.1", port + 1)):
                    return port
            except OSError:
                continue


async def started_at(port: int) -> float:
    """When the process began whose metrics are there; 0: nobody answers."""
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            lines = (await answer.text()).splitlines()
    except aiohttp.ClientConnectionError:
        return 0.0
    line = next(line for line in lines if line.startswith("process_start_time_seconds"))
    return float(line.rpartition(" ")[2])


async def alive(url: str) -> bool:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/healthz") as answer:
        return answer.status == 200


async def test_a_changed_file_is_read_and_a_wrong_one_leaves_everything_as_it_was(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    port = two_free_ports()
    file = tmp_path / "web.env"
    file.write_text(f"FLASHORDER_METRICS_PORT={port}\n")
    async with workers(redis_url, database_url, tmp_path, FLASHORDER_ENV_FILE=str(file)) as running:
        async with asyncio.timeout(60):
            while not (first := await started_at(port + 1)):
                await asyncio.sleep(0.01)
        running.process.send_signal(signal.SIGHUP)
        for _ in range(COUNT):
            await running.next_pids()
        async with asyncio.timeout(60):  # the ports go to the new ones when the old ones end
            while not await started_at(port + 1) > first:
                await asyncio.sleep(0.01)
        await running.logged(b"rolling_restart_ended")
        pids = running.pids()
        file.write_text("FLASHORDER_SHARDS=many\n")
        running.process.send_signal(signal.SIGHUP)
        await running.logged(b"FLASHORDER_SHARDS")
        await running.logged(b"rolling_restart_stopped")
        assert running.pids() == pids
        assert await alive(running.url)
        file.write_text("# nothing\n")
        running.process.send_signal(signal.SIGHUP)
        for _ in range(COUNT):
            after = await running.next_pids()
        assert not set(after) & set(pids)
        await running.logged(b"rolling_restart_ended")
        assert await started_at(port) == 0.0


async def test_a_process_on_its_own_says_that_nobody_can_take_over(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with workers(redis_url, database_url, tmp_path, count=1) as running:
        running.process.send_signal(signal.SIGHUP)
        await running.logged(b"no_rolling_restart")
        assert await alive(running.url)


@pytest.mark.parametrize("count", [1, COUNT])
async def test_a_terminal_that_hangs_up_ends_it_in_order(
    redis_url: str, database_url: str, tmp_path: Path, count: int
) -> None:
    ours, its = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(its, termios.TIOCSCTTY, 0)

    arguments = ("--workers", str(count))
    async with serving(
        redis_url, database_url, tmp_path, *arguments, preexec_fn=take_terminal, pass_fds=(its,)
    ) as process:
        os.close(its)
        await url_of(process)
        os.close(ours)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
