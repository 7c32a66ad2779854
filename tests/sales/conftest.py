"""A house of sales on real stores: products with counted stock, the front, the services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest_asyncio

from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis.connection import connect_redis
from flashorder.inventory.ledger import StockLedger
from flashorder.kernel.clock import utc_now
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.sales.front import SaleFront
from flashorder.sales.model import DraftItem, Sale, SaleDraft
from flashorder.sales.service import SalesService
from flashorder.settings import Settings

COUNTED_UNITS = 100


def draft(**changes: Any) -> SaleDraft:
    """A sale of two products that runs for an hour from a minute ago."""
    now = utc_now()
    fields: dict[str, Any] = {
        "title": "Winter sale",
        "starts_at": now - timedelta(minutes=1),
        "ends_at": now + timedelta(hours=1),
        "items": (
            DraftItem("LANTERN", 10, Money(199, "GBP"), 2),
            DraftItem("BOTTLE", 5, Money(299, "GBP"), 1),
        ),
    }
    return SaleDraft(**{**fields, **changes})


@dataclass
class House:
    """What a test of sales works with."""

    pool: Pool
    front: SaleFront
    service: SalesService
    settings: Settings
    stock: StockLedger = field(default_factory=StockLedger)

    async def created(self, **changes: Any) -> Sale:
        """A draft."""
        return await self.service.create(draft(**changes), actor="test")

    async def opened(self, **changes: Any) -> Sale:
        """A live sale."""
        return await self.service.open((await self.created(**changes)).sale_id)

    async def available(self, sku: str) -> int:
        """Units of stock that no sale has."""
        query = "SELECT available FROM stock_levels WHERE sku = $1"
        return int(await self.pool.fetchval(query, sku))

    async def order(self, sale: Sale, sku: str, quantity: int, status: str) -> None:
        """An order as the consumer writes it, its units committed; the front is left alone."""
        order_id = new_id()
        await self.pool.execute(
            "INSERT INTO orders (order_id, order_number, buyer_id, sale_id, currency, "
            "total_amount, accepted_at, status, paid_at) VALUES "
            "($1, $2, $3, $4, 'GBP', 0, now(), $5, CASE WHEN $5 = 'paid' THEN now() END)",
            order_id,
            str(order_id),
            new_id(),
            sale.sale_id,
            status,
        )
        await self.pool.execute(
            "INSERT INTO order_lines VALUES ($1, 1, $2, 'x', $3, 0, 0)", order_id, sku, quantity
        )
        await self.pool.execute(
            "UPDATE sale_items SET committed = committed + $3 WHERE sale_id = $1 AND sku = $2",
            sale.sale_id,
            sku,
            quantity,
        )


@pytest_asyncio.fixture
async def house(database_url: str, redis_url: str) -> AsyncIterator[House]:
    pool = await connect_postgres(database_url, connections_max=8)
    redis = connect_redis(redis_url)
    await pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency) VALUES "
        "('LANTERN', 'White lantern', 339, 'GBP'), ('BOTTLE', 'Hot water bottle', 465, 'GBP')"
    )
    await pool.execute(
        "INSERT INTO stock_movements (movement_id, sku, kind, quantity, cause, actor) "
        "SELECT gen_random_uuid(), sku, 'received', $1, 'delivery', 'test' FROM products",
        COUNTED_UNITS,
    )
    settings = Settings(shards=2)
    front = SaleFront(redis, settings.shards)
    yield House(pool, front, SalesService(pool, front, StockLedger(), settings), settings)
    await redis.aclose()
    await pool.close()
