"""Orders of every kind in both stores, left by a real system, to be spoilt."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis import keys
from flashorder.settings import Settings
from tests.journeys.system import System


@dataclass(frozen=True)
class Kept:
    """What the system left: a database to copy, the store's keys as they were dumped."""

    database_url: str
    dump: dict[bytes, bytes]
    sale_id: uuid.UUID


@dataclass(frozen=True)
class Books:
    """Both stores of one test."""

    redis: Redis
    pool: Pool
    settings: Settings
    sale: keys.SaleKeys

    async def sql(self, statement: str, *arguments: object) -> None:
        """It must find something to spoil."""
        done = await self.pool.execute(statement, *arguments)
        assert not done.endswith(" 0"), f"nothing to spoil: {statement}"

    async def order(self, status: str) -> uuid.UUID:
        found = await self.pool.fetchval("SELECT order_id FROM orders WHERE status = $1", status)
        assert found is not None, f"no order is {status}"
        return uuid.UUID(str(found))

    async def token_of(self, status: str) -> bytes:
        return (await self.order(status)).bytes[6:]


async def bought(system: System, sale_id: str, *steps: str) -> str:
    """An order that went through ``steps``."""
    answer = await system.buy(sale_id)
    assert answer.status == 202, answer.body
    order_id = str(answer.body["order_id"])
    await system.until(order_id, lambda order: order["status"] == "pending_payment")
    if "pay" in steps:
        await system.pay(order_id)
        await system.until(order_id, lambda order: order["status"] == "paid")
    if "release" in steps:
        await system.admin("POST", f"orders/{order_id}/release-to-warehouse")
        await system.until(order_id, lambda order: order["fulfillment_status"] == "pending")
    if "ship" in steps:
        found = await system.admin("GET", f"shipments?order_id={order_id}")
        shipment = f"shipments/{found.body['items'][0]['shipment_id']}"
        for verb, body in (("pick", None), ("pack", None), ("ship", {"carrier": "simulator"})):
            moved = await system.admin("POST", f"{shipment}/{verb}", body)
            assert moved.status == 200, moved.body
        await system.until(order_id, lambda order: order["status"] == "completed")
    if "cancel" in steps:
        await system.admin("POST", f"orders/{order_id}/cancel", {"reason": "out_of_stock"})
        ended = "refunded" if "pay" in steps else "none"
        await system.until(order_id, lambda order: order["payment_status"] == ended)
    return order_id


async def live(system: System) -> str:
    """Orders of every kind, in a sale that goes on."""
    await system.http.put(f"{system.settings.carrier_simulator_url}/control", json={"pace_ms": 10})
    sale_id = await system.open_sale(quantity=20, limit=15)
    await bought(system, sale_id)
    await bought(system, sale_id, "pay")
    await bought(system, sale_id, "pay", "release")
    await bought(system, sale_id, "pay", "release", "ship")
    await bought(system, sale_id, "cancel")
    await bought(system, sale_id, "pay", "cancel")
    return sale_id


@asynccontextmanager
async def opened(kept: Kept, redis_url: str, database_url: str) -> AsyncIterator[Books]:
    """The store as it was kept, over a database."""
    async with Redis.from_url(redis_url) as redis:
        for key, value in kept.dump.items():
            await redis.restore(key, 0, value)
        pool = await connect_postgres(database_url, connections_max=1)
        settings = Settings(redis_url=redis_url, database_url=database_url, secret="test")
        yield Books(redis, pool, settings, keys.sale_keys(0, kept.sale_id))
        await pool.close()
