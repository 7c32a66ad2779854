"""A sale on real stores, bought from by the real scripts, with all that looks after it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest_asyncio
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.fencing.metrics import FencingMetrics
from flashorder.fencing.service import Fencing
from flashorder.infra.postgres.pool import Pool
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.scripts import load_script
from flashorder.inventory.reconciliation.reading import Reader
from flashorder.kernel.identifiers import order_id_prefix, shard_of
from flashorder.orders.units import OrderUnits
from flashorder.rebuilding.service import Rebuilding
from flashorder.reservations.holds import StoreHolds
from flashorder.reservations.records import Purchase, ReserveCode
from flashorder.sales.front import SaleFront
from flashorder.sales.model import Sale
from flashorder.sales.service import SalesService
from flashorder.settings import Settings
from flashorder.verification.stores import StoreChecks
from tests.sales.conftest import House, house  # noqa: F401


@dataclass
class Market:
    """A running sale; ``shards`` as the house has them."""

    pool: Pool
    redis: Redis
    front: SaleFront
    sales: SalesService
    settings: Settings
    sale: Sale
    holds: StoreHolds
    fencing: Fencing
    rebuilding: Rebuilding
    newcomers: Iterator[int] = field(default_factory=count)

    def wish(self, buyer: bytes | None = None, sku: str = "LANTERN", units: int = 1) -> Purchase:
        """A purchase that can be sent any number of times; new buyers take the shards in turn."""
        buyer = buyer or os.urandom(12) + next(self.newcomers).to_bytes(4)
        token = bytearray(os.urandom(10))
        token[0], token[2] = 0x70 | token[0] & 0x0F, 0x80 | token[2] & 0x3F
        return Purchase(
            sale_id=self.sale.sale_id,
            generation=self.sale.generation,
            token=bytes(token),
            prefix=order_id_prefix(),
            fingerprint=buyer[-4:] + os.urandom(4),
            buyer_id=buyer,
            sku=sku,
            quantity=units,
        )

    async def send(self, wish: Purchase) -> tuple[ReserveCode, bytes | int]:
        """What the store says to a purchase, by the generation that it has."""
        shard = shard_of(wish.buyer_id, self.settings.shards)
        key = keys.sale_keys(shard, self.sale.sale_id)
        there = await self.redis.hget(key.sale, "generation")
        reply = await load_script("reserve")(
            self.redis,
            keys.reserve_keys(shard, self.sale.sale_id),
            (there or 1, self.sale.sale_id.bytes, *wish.arguments()),
        )
        return ReserveCode(reply[3]), reply[4]

    async def buy(self, **wish: object) -> Purchase:
        """A purchase that is accepted."""
        made = self.wish(**wish)  # type: ignore[arg-type]
        assert (await self.send(made))[0] is ReserveCode.ACCEPTED
        return made

    async def drain(self) -> None:
        """Everything in the stream becomes orders."""
        await Consumer(self.redis, self.pool, self.settings).drain_all()

    async def cancel(self, wish: Purchase) -> None:
        """Cancel the order of a purchase; its units are not given back yet."""
        await self.pool.execute(
            "UPDATE orders SET status = 'cancelled', cancel_reason = 'test', "
            "cancelled_at = now() WHERE order_id = $1",
            order_id_of(wish),
        )
        await self.pool.execute(
            "UPDATE sale_items SET committed = committed - $3 WHERE sale_id = $1 AND sku = $2",
            self.sale.sale_id,
            wish.sku,
            wish.quantity,
        )

    async def release(self, wish: Purchase) -> None:
        """Give the units of a cancelled order back, as the outbox does."""
        buyer_id = uuid.UUID(bytes=wish.buyer_id)
        await OrderUnits(self.pool, self.holds).release(
            order_id_of(wish), self.sale.sale_id, buyer_id, 1
        )

    async def remaining(self) -> dict[str, int | None]:
        there = await self.front.read(self.sale.sale_id)
        assert there is not None
        return {item.sku: item.remaining for item in there.items}

    async def lose(self) -> None:
        """The store comes back empty."""
        await self.redis.flushall()

    async def violations(self) -> list[str]:
        """What ``flashorder verify`` finds of the front."""
        shards = self.settings.shards
        reader = Reader(self.pool, self.redis, self.front, shards)
        checks = await StoreChecks(self.pool, self.redis, reader, shards).run()
        return [f"{check.name}: {check.examples}" for check in checks if check.violations]


def order_id_of(wish: Purchase) -> uuid.UUID:
    return uuid.UUID(bytes=wish.prefix + wish.token)


@pytest_asyncio.fixture
async def market(house: House, redis_url: str) -> AsyncIterator[Market]:  # noqa: F811
    redis = connect_redis(redis_url)
    settings = Settings(
        shards=house.settings.shards, rebuild_drain_timeout_seconds=0.2, consumer_block_seconds=0.05
    )
    holds = StoreHolds(redis, settings.shards)
    sale = await house.opened()
    fencing = Fencing(
        house.pool,
        lambda: connect_redis(redis_url, connections_max=1),
        settings.shards,
        FencingMetrics(CollectorRegistry()),
    )
    rebuilding = Rebuilding(house.pool, redis, house.front, house.service, holds, fencing, settings)
    yield Market(
        house.pool, redis, house.front, house.service, settings, sale, holds, fencing, rebuilding
    )
    await redis.aclose()
