"""A sale in both stores, and purchases of it: by the real scripts, or straight into the stream."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.infra.postgres.pool import Pool
from flashorder.infra.redis import keys
from flashorder.infra.redis.scripts import load_script
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.intents import INTENT_FIELD
from flashorder.reservations.holds import StoreHolds
from flashorder.sales.front import FrontItem, FrontSale, SaleFront
from flashorder.sales.model import SaleStatus
from flashorder.settings import Settings
from tests.intents import pack_intent
from tests.reservations.front import FAR_FUTURE_MS, a_purchase

PRICE = 1999
SKU = "85123A"


def settings(**changes: Any) -> Settings:
    quick = {
        "consumer_claim_idle_seconds": 0.2,
        "consumer_block_seconds": 0.05,
        "consumer_upkeep_seconds": 0.05,
        "outbox_poll_seconds": 0.02,
        "secret": "of the tests",
    }
    return Settings(**(quick | changes))


@dataclass(frozen=True)
class Bought:
    order_id: uuid.UUID
    buyer_id: uuid.UUID


class Shop:
    """One sale of some SKUs, open in PostgreSQL and at the front."""

    def __init__(self, pool: Pool, redis: Redis, sale: FrontSale) -> None:
        self.pool = pool
        self.redis = redis
        self.sale = sale
        self.sale_id = sale.sale_id
        self.keys = keys.sale_keys(0, sale.sale_id)
        self.holds = StoreHolds(redis, 1)

    @classmethod
    async def open(
        cls,
        pool: Pool,
        redis: Redis,
        units: int = 10,
        *,
        skus: tuple[str, ...] = (SKU,),
        limit: int = 5,
        allotted: int | None = None,
    ) -> Shop:
        sale = FrontSale(
            sale_id=new_id(),
            title="A sale",
            status=SaleStatus.OPEN,
            currency="GBP",
            starts_at_ms=0,
            ends_at_ms=FAR_FUTURE_MS,
            payment_window_seconds=900,
            generation=1,
            revision=1,
            items=tuple(
                FrontItem(sku, f"Name of {sku}", PRICE, PRICE, limit, units) for sku in skus
            ),
        )
        await pool.execute(
            "INSERT INTO sales (sale_id, title, status, currency, starts_at, ends_at)"
            " VALUES ($1, 'A sale', 'open', 'GBP', now(), now() + interval '1 hour')",
            sale.sale_id,
        )
        for sku in skus:
            await pool.execute(
                "INSERT INTO products (sku, name, unit_price_amount, currency)"
                " VALUES ($1, $2, $3, 'GBP') ON CONFLICT DO NOTHING",
                sku,
                f"Name of {sku}",
                PRICE,
            )
            await pool.execute(
                "INSERT INTO sale_items"
                " (sale_id, sku, unit_price_amount, per_buyer_limit, allotted)"
                " VALUES ($1, $2, $3, $4, $5)",
                sale.sale_id,
                sku,
                PRICE,
                limit,
                units if allotted is None else allotted,
            )
        await SaleFront(redis, 1).open(sale)
        return cls(pool, redis, sale)

    async def buy(self, quantity: int = 1, buyer_id: uuid.UUID | None = None) -> Bought:
        """A purchase through reserve.lua; it must be accepted."""
        buyer = (buyer_id or new_id()).bytes
        purchase = a_purchase(self.sale, buyer=buyer, quantity=quantity)
        reply = await load_script("reserve")(
            self.redis,
            keys.reserve_keys(0, self.sale_id),
            (1, self.sale_id.bytes, *purchase.arguments()),
        )
        assert reply[3] == 1, reply
        return Bought(uuid.UUID(bytes=purchase.prefix + purchase.token), uuid.UUID(bytes=buyer))

    async def place(self, quantity: int = 1, buyer_id: uuid.UUID | None = None) -> Bought:
        """A purchase, and its order in PostgreSQL."""
        bought = await self.buy(quantity, buyer_id)
        await self.drain()
        return bought

    async def drain(self) -> None:
        """Everything in the stream becomes orders."""
        await Consumer(self.redis, self.pool, settings()).drain_all()

    async def add_entry(self, count: int = 1, **changes: Any) -> list[dict[str, Any]]:
        """Entries as reserve.lua writes them, with what a test wants otherwise; their parts.

        ``intent`` is a value that is none.
        """
        broken = changes.pop("intent", None)
        written = []
        async with self.redis.pipeline(transaction=False) as pipe:
            for _ in range(count):
                parts = {**self.parts(), **changes}
                written.append(parts)
                pipe.xadd(keys.intents(0), {INTENT_FIELD: broken or pack_intent(**parts)})
            await pipe.execute()
        return written

    def parts(self) -> dict[str, Any]:
        return {
            "order_id": new_id().bytes,
            "buyer_id": os.urandom(16),
            "sale_id": self.sale_id.bytes,
            "sku": self.sale.items[0].sku,
            "quantity": 1,
            "unit_price_amount": PRICE,
            "address_id": b"",
            "fingerprint": os.urandom(8),
            "accepted_ms": 1_700_000_000_000,
            "due_ms": 4_000_000_000_000,
            "generation": 1,
        }

    async def remaining(self, sku: str = SKU) -> int:
        return int(await self.redis.hget(self.keys.stock, sku))

    async def committed(self, sku: str = SKU) -> int:
        return await self.pool.fetchval(
            "SELECT committed FROM sale_items WHERE sale_id = $1 AND sku = $2", self.sale_id, sku
        )

    async def count(self, table: str) -> int:
        return await self.pool.fetchval(f"SELECT count(*) FROM {table}")

    async def violations(self) -> list[tuple[str, Any]]:
        """What the room's invariants find."""
        from flashorder.orders.invariants import INVARIANTS

        found = []
        for invariant in INVARIANTS:
            found += [(invariant.name, dict(row)) for row in await self.pool.fetch(invariant.sql)]
        return found
