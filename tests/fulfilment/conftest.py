"""A warehouse on a real database, with the simulated carrier behind a real port."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr

from flashorder.fulfilment.carriers.registry import Carriers, build_carriers
from flashorder.fulfilment.invariants import INVARIANTS
from flashorder.fulfilment.service import FulfilmentService
from flashorder.fulfilment.simulator import build_carrier_simulator
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.kernel.events import Event, Topic
from flashorder.kernel.identifiers import new_id
from flashorder.settings import Settings

DEADLINE_SECONDS = 10.0
ADDRESS = {"name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London"}


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def listening(app: web.Application, port: int) -> AsyncIterator[None]:
    """``app`` behind a real port of this machine."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


async def eventually(holds: Callable[[], Awaitable[Any]]) -> Any:
    """The first true answer of ``holds``, asked until the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if answer := await holds():
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to hold in time")


@dataclass
class SimulatorClient:
    """The knobs and the books of the simulated carrier."""

    url: str

    async def control(self, **knobs: Any) -> None:
        """Put knobs in force; what is not named goes back to its default."""
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{self.url}/control", json=knobs) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def ledger(self) -> dict[str, Any]:
        """The books."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/ledger") as answer,
        ):
            assert answer.status == 200, await answer.text()
            books: dict[str, Any] = await answer.json()
            return books

    async def label_of(self, shipment_id: uuid.UUID) -> dict[str, Any] | None:
        """The label with the key of this shipment."""
        labels = (await self.ledger())["labels"]
        return next((each for each in labels if each["reference"] == str(shipment_id)), None)


@dataclass
class House:
    """What a test of the warehouse works with."""

    pool: Pool
    service: FulfilmentService
    carriers: Carriers
    settings: Settings

    async def order(self, status: str = "awaiting_shipment", **changes: Any) -> uuid.UUID:
        """An order with two lines, as the rooms before this one leave it."""
        order_id = new_id()
        await self.pool.execute(
            "INSERT INTO orders (order_id, order_number, status, buyer_id, currency, total_amount,"
            " ship_to, accepted_at, paid_at) VALUES ($1, $2, $3, $4, 'GBP', 500, $5, now(), now())",
            order_id,
            str(order_id),
            status,
            new_id(),
            changes.get("ship_to", ADDRESS),
        )
        await self.pool.execute(
            "INSERT INTO order_lines (order_id, line_no, sku, name, quantity, unit_price_amount,"
            " total_amount) VALUES ($1, 1, 'LANTERN', 'White lantern', 2, 200, 400),"
            " ($1, 2, 'BOTTLE', 'Hot water bottle', 1, 100, 100)",
            order_id,
        )
        return order_id

    async def shipment(self, status: str = "pending", **changes: Any) -> uuid.UUID:
        """A shipment of a fresh order, walked to ``status`` (up to packed)."""
        order_id = await self.order(**changes)
        await self.service.order_awaits_shipment(Event(Topic.ORDER_AWAITING_SHIPMENT, order_id))
        shipment_id: uuid.UUID = await self.pool.fetchval(
            "SELECT shipment_id FROM shipments WHERE order_id = $1", order_id
        )
        for step, walk in (("picking", self.service.pick), ("packed", self.service.pack)):
            if status in (step, "packed"):
                await walk(shipment_id, "test")
        return shipment_id

    async def row(self, shipment_id: uuid.UUID) -> dict[str, Any]:
        """The shipment as it stands."""
        row = await self.pool.fetchrow(
            "SELECT * FROM shipments WHERE shipment_id = $1", shipment_id
        )
        assert row is not None
        return dict(row)

    async def cancel_order(self, order_id: uuid.UUID) -> None:
        """What the orders' room does to the row; the shipment hears of it by ``cancelled``."""
        await self.pool.execute(
            "UPDATE orders SET status = 'cancelled', cancel_reason = 'changed_mind',"
            " cancelled_at = now() WHERE order_id = $1",
            order_id,
        )

    async def cancelled(self, order_id: uuid.UUID) -> None:
        """The event of a cancellation arrives."""
        await self.service.order_cancelled(
            Event(Topic.ORDER_CANCELLED, order_id, {"reason": "changed_mind"})
        )

    async def told(self, topic: Topic) -> list[dict[str, Any]]:
        """Payloads in the outbox."""
        rows = await self.pool.fetch(
            "SELECT payload FROM outbox WHERE topic = $1 ORDER BY event_id", topic
        )
        return [row["payload"] for row in rows]

    async def check_invariants(self) -> None:
        """Every invariant of the room."""
        for invariant in INVARIANTS:
            assert await self.pool.fetch(invariant.sql) == [], invariant.explanation


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        secret=SecretStr("test"),
        data_dir=tmp_path,
        port=free_port(),
        carrier_simulator_url=f"http://127.0.0.1:{free_port()}",
        provider_timeout_seconds=2.0,
        tracking_silence_seconds=30.0,
        autopilot=True,
        autopilot_pause_seconds=0.0,
    )


@pytest_asyncio.fixture
async def simulator(settings: Settings) -> AsyncIterator[SimulatorClient]:
    url = settings.carrier_simulator_url
    async with listening(build_carrier_simulator(settings), int(url.rsplit(":", 1)[1])):
        client = SimulatorClient(url)
        await client.control(pace_ms=3_600_000)  # parcels rest until a test hurries them
        yield client


@pytest_asyncio.fixture
async def house(database_url: str, settings: Settings) -> AsyncIterator[House]:
    pool = await connect_postgres(database_url, connections_max=10)
    await pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency, weight_grams) VALUES"
        " ('LANTERN', 'White lantern', 339, 'GBP', 300),"
        " ('BOTTLE', 'Hot water bottle', 465, 'GBP', NULL)"
    )
    carriers = build_carriers(settings)
    yield House(pool, FulfilmentService(pool, carriers, settings), carriers, settings)
    await carriers.close()
    await pool.close()
