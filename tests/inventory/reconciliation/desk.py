"""A sale in both stores, moved by hand through each state that an order can be in."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Pool
from flashorder.infra.redis import keys
from flashorder.infra.redis.scripts import load_script
from flashorder.inventory.reconciliation.reading import Reader
from flashorder.inventory.reconciliation.service import (
    ReconciliationMetrics,
    ReconciliationService,
)
from flashorder.inventory.reconciliation.store import ReconciliationStore
from flashorder.inventory.reconciliation.stream import GROUP, parse_entry_id
from flashorder.kernel.identifiers import order_id_prefix, order_number
from flashorder.kernel.intents import INTENT_FIELD, RawIntent, unpack_intent
from flashorder.reservations.holds import StoreHolds
from flashorder.sales.front import FrontItem, FrontSale, SaleFront
from flashorder.sales.model import SaleStatus

SKU = "85123A"
FAR_FUTURE_MS = 4_102_444_800_000
Entry = tuple[tuple[int, int], RawIntent]


class Desk:
    """One sale of ``units`` of one SKU; ``apply`` stands for the consumer."""

    def __init__(self, pool: Pool, redis: Redis, units: int = 100) -> None:
        self.pool = pool
        self.redis = redis
        self.units = units
        self.sale_id = uuid.uuid4()
        self.front = SaleFront(redis, 1)
        self.holds = StoreHolds(redis, 1)
        self.keys = keys.sale_keys(0, self.sale_id)
        self.registry = CollectorRegistry()
        self.reader = Reader(pool, redis, self.front, 1)
        self.service = ReconciliationService(
            ReconciliationStore(pool),
            self.reader,
            self.front,
            ReconciliationMetrics(self.registry),
            agreement_pause_seconds=0.01,
        )

    async def open(self) -> None:
        await self.pool.execute(
            "INSERT INTO products (sku, name, unit_price_amount, currency) "
            "VALUES ($1, 'HANGING HEART', 255, 'GBP') ON CONFLICT DO NOTHING",
            SKU,
        )
        await self.pool.execute(
            "INSERT INTO sales (sale_id, title, status, currency, starts_at, ends_at, "
            "synced_revision) VALUES ($1, 'A sale', 'open', 'GBP', 'epoch', '2100-01-01', 1)",
            self.sale_id,
        )
        await self.pool.execute(
            "INSERT INTO sale_items (sale_id, sku, unit_price_amount, per_buyer_limit, allotted) "
            "VALUES ($1, $2, 255, 5, $3)",
            self.sale_id,
            SKU,
            self.units,
        )
        item = FrontItem(SKU, "HANGING HEART", 255, 299, 5, self.units)
        await self.front.open(
            FrontSale(
                self.sale_id, "A sale", SaleStatus.OPEN, "GBP", 0, FAR_FUTURE_MS, 900, 1, 1, (item,)
            )
        )
        await self.redis.xgroup_create(keys.intents(0), GROUP, id="0", mkstream=True)

    async def buy(self, quantity: int = 1) -> None:
        """An accepted purchase: units taken, an entry in the stream."""
        token, buyer = os.urandom(10), os.urandom(16)
        reply = await load_script("reserve")(
            self.redis,
            keys.reserve_keys(0, self.sale_id),
            (1, self.sale_id.bytes, order_id_prefix() + token + buyer + buyer[-4:] + b"body",
             f"{quantity}:{SKU}"),
        )  # fmt: skip
        assert reply[3] == 1, reply

    async def take(self, count: int = 1) -> list[Entry]:
        """Read entries as the consumer does; not acknowledged yet."""
        reply = await self.redis.xreadgroup(GROUP, "c1", {keys.intents(0): ">"}, count=count)
        pages = reply.values() if isinstance(reply, dict) else (page for _, page in reply)
        flat = [entry for page in pages for entry in page]
        if flat and isinstance(flat[0], list):  # RESP3 nests a list a stream
            flat = [entry for chunk in flat for entry in chunk]
        return [
            (parse_entry_id(entry_id), unpack_intent(fields[INTENT_FIELD]))
            for entry_id, fields in flat
        ]

    async def apply(self, entries: list[Entry], *, acknowledge: bool = True) -> list[uuid.UUID]:
        """Make orders of entries."""
        orders = []
        for (ms, seq), raw in entries:
            order_id, quantity = uuid.UUID(bytes=raw.order_id), raw.quantity
            async with self.pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "INSERT INTO orders (order_id, order_number, buyer_id, sale_id, currency, "
                    "total_amount, shard, intent_ms, intent_seq, accepted_at, fingerprint, "
                    "payment_due_at) "
                    "VALUES ($1, $2, $3, $4, 'GBP', $5, 0, $6, $7, $8, $9, "
                    "to_timestamp($10::bigint / 1000.0))",
                    order_id, order_number(raw.order_id), uuid.UUID(bytes=raw.buyer_id),
                    self.sale_id, 255 * quantity, ms, seq, datetime.now(UTC), raw.fingerprint,
                    raw.due_ms,
                )  # fmt: skip
                await connection.execute(
                    "INSERT INTO order_lines VALUES ($1, 1, $2, 'H', $3, 255, $4)",
                    order_id, SKU, quantity, 255 * quantity,
                )  # fmt: skip
                await connection.execute(
                    "INSERT INTO order_events (order_id, version, type, actor) "
                    "VALUES ($1, 1, 'placed', 'test')",
                    order_id,
                )
                await connection.execute(
                    "UPDATE sale_items SET committed = committed + $1", quantity
                )
            orders.append(order_id)
            if acknowledge:
                await self.acknowledge([((ms, seq), raw)])
        return orders

    async def acknowledge(self, entries: list[Entry]) -> None:
        for (ms, seq), _ in entries:
            await self.redis.xack(keys.intents(0), GROUP, f"{ms}-{seq}")

    async def bury(self, entries: list[Entry]) -> None:
        """Put entries among the dead letters."""
        for (ms, seq), raw in entries:
            await self.pool.execute(
                "INSERT INTO dead_letters (dead_letter_id, shard, intent_ms, intent_seq, order_id, "
                "sale_id, buyer_id, sku, quantity, fields, error) "
                "VALUES ($1, 0, $2, $3, $4, $5, $6, $7, $8, '{}', 'poison')",
                uuid.uuid4(), ms, seq, uuid.UUID(bytes=raw.order_id), self.sale_id,
                uuid.UUID(bytes=raw.buyer_id), SKU, raw.quantity,
            )  # fmt: skip
            await self.acknowledge([((ms, seq), raw)])

    async def cancel(self, order_id: uuid.UUID) -> None:
        await self.pool.execute(
            "UPDATE orders SET status = 'cancelled', cancel_reason = 'test', cancelled_at = now() "
            "WHERE order_id = $1",
            order_id,
        )
        await self.pool.execute(
            "UPDATE sale_items SET committed = committed - (SELECT sum(quantity) FROM order_lines "
            "WHERE order_id = $1)",
            order_id,
        )

    async def release_at_front(self, order_id: uuid.UUID) -> None:
        buyer_id = await self.pool.fetchval(
            "SELECT buyer_id FROM orders WHERE order_id = $1", order_id
        )
        await self.holds.release(self.sale_id, order_id, buyer_id, 1)

    async def mark_released(self, order_id: uuid.UUID) -> None:
        await self.pool.execute(
            "UPDATE orders SET released_at = clock_timestamp() WHERE order_id = $1", order_id
        )

    async def lose(self, units: int) -> None:
        """Damage the front: units that nobody has vanish (negative: appear)."""
        await self.redis.hincrby(self.keys.stock, SKU, -units)

    async def available(self) -> int:
        return int(await self.redis.hget(self.keys.stock, SKU))
