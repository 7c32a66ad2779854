"""Checks that need both stores: what the front says against what PostgreSQL has booked."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.keys import sale_keys
from flashorder.inventory.reconciliation.model import ItemReading
from flashorder.inventory.reconciliation.reading import Reader, Readings
from flashorder.inventory.reconciliation.stream import group_state, read_entries
from flashorder.verification.model import CheckResult, Violations

_SQL = load_sql("flashorder.verification")
_LAST = (2**63 - 1, 2**63 - 1)
PAGE = 1000
BUYER_BYTES = 16
# A record begins with its state and its hold: see flashorder.reservations.records.
STATE_HELD = ord("A")


class StoreChecks:
    """Reads both stores page by page; raises ``StoreUnavailable``, ``DatabaseUnavailable``."""

    def __init__(self, pool: Pool, redis: Redis, reader: Reader, shards: int) -> None:
        self._pool = pool
        self._redis = redis
        self._reader = reader
        self._shards = shards

    async def run(self) -> list[CheckResult]:
        """Every check; each is a result, violated or not."""
        readings = await self._reader.read(None)
        at_front = [each for each in readings.values() if each.at_front]
        sales = sorted({each.sale_id for each in at_front})
        return [
            *self._stock(readings),
            await self._units_add_up(at_front),
            await self._buyers(at_front, sales),
            await self._tokens(sales),
            await self._holds(sales),
            await self._intents(),
        ]

    def _stock(self, readings: Readings) -> list[CheckResult]:
        missing, negative, drifting, unbooked = (Violations() for _ in range(4))
        for each in readings.values():
            where = {"sale_id": str(each.sale_id), "sku": each.sku}
            if not each.at_front:
                missing.add(**where)
                continue
            if each.available < 0 or each.sold < 0:
                negative.add(**where, available=each.available, sold=each.sold)
            if each.drift:
                drifting.add(**where, drift=each.drift, **_units(each))
            least = each.held - each.moving.held_below
            if not least <= each.sold <= each.held + each.moving.held_above:
                unbooked.add(**where, **_units(each))
        return [
            missing.result("front", "sale_known", "the front knows every sale that it was told"),
            negative.result("front", "stock_not_negative", "no stock is below zero"),
            drifting.result(
                "front",
                "stock_balances",
                "available + applied + unreleased + in stream + dead letters = allotted",
            ),
            unbooked.result(
                "front", "sold_is_booked", "units sold at the front = units held in PostgreSQL"
            ),
        ]

    async def _units_add_up(self, readings: list[ItemReading]) -> CheckResult:
        with database_failures():
            rows = await self._pool.fetch(_SQL["corrected_items"])
        corrected = {(row["sale_id"], row["sku"]) for row in rows}
        found = Violations()
        for each in readings:
            if (each.sale_id, each.sku) in corrected:
                continue
            plain = each.available + each.sold - each.allotted
            if not -each.moving.allotted_below <= plain <= each.moving.allotted_above:
                found.add(sale_id=str(each.sale_id), sku=each.sku, **_units(each))
        return found.result("front", "units_add_up", "initial + top-ups = available + sold")

    async def _buyers(self, readings: list[ItemReading], sales: list[uuid.UUID]) -> CheckResult:
        with database_failures():
            rows = await self._pool.fetch(_SQL["limits"], sales)
        limits = {(row["sale_id"], row["sku"]): row["per_buyer_limit"] for row in rows}
        found = Violations()
        held: Counter[tuple[uuid.UUID, str]] = Counter()
        for sale_id in sales:
            async for field, value in self._scan(sale_id, "buyers"):
                sku, units = field[BUYER_BYTES:].decode(), int(value)
                held[sale_id, sku] += units
                if not 0 < units <= limits.get((sale_id, sku), 0):
                    buyer_id = str(uuid.UUID(bytes=field[:BUYER_BYTES]))
                    found.add(sale_id=str(sale_id), sku=sku, buyer_id=buyer_id, units=units)
        for each in readings:
            units = held[each.sale_id, each.sku]
            moving = each.moving.held_above + each.moving.held_below
            if abs(units - each.sold) > moving:
                found.add(sale_id=str(each.sale_id), sku=each.sku, sold=each.sold, buyers=units)
        return found.result(
            "front", "buyer_limit", "no buyer holds more than permitted; together they hold sold"
        )

    async def _tokens(self, sales: list[uuid.UUID]) -> CheckResult:
        found = Violations()
        for sale_id in sales:
            page: list[bytes] = []
            async for token, _ in self._scan(sale_id, "tokens"):
                page.append(token)
                if len(page) >= PAGE:
                    await self._without_order(sale_id, page, found)
                    page = []
            await self._without_order(sale_id, page, found)
        return found.result("front", "accepted_is_order", "every 202 is one order or dead letter")

    async def _without_order(
        self, sale_id: uuid.UUID, tokens: list[bytes], found: Violations
    ) -> None:
        with database_failures():
            rows = await self._pool.fetch(_SQL["tokens_without_order"], sale_id, tokens)
        for row in rows:
            found.add(sale_id=str(sale_id), token=row["token"].hex())

    async def _holds(self, sales: list[uuid.UUID]) -> CheckResult:
        """What the front remembers of each order is what PostgreSQL says of it."""
        found = Violations()
        for sale_id in sales:
            last = uuid.UUID(int=0)
            while True:
                with database_failures():
                    rows = await self._pool.fetch(_SQL["orders_of_sale"], sale_id, last, PAGE)
                if not rows:
                    break
                last = rows[-1]["order_id"]
                records = await self._records(sale_id, [row["order_id"] for row in rows])
                for row, record in zip(rows, records, strict=True):
                    wanted = (row["held"], row["hold"])
                    if record is None or (record[0] == STATE_HELD, record[1]) != wanted:
                        found.add(
                            sale_id=str(sale_id),
                            order_id=str(row["order_id"]),
                            hold=row["hold"],
                            held=row["held"],
                            front=None if record is None else f"{record[0]:c}{record[1]}",
                        )
        return found.result("front", "holds_agree", "the front remembers each order, and its hold")

    async def _records(self, sale_id: uuid.UUID, order_ids: list[uuid.UUID]) -> list[bytes | None]:
        """Each order's record; with several shards, of whichever shard has it."""
        tokens = [order_id.bytes[6:] for order_id in order_ids]
        found: list[bytes | None] = [None] * len(tokens)
        for shard in range(self._shards):
            with store_failures():
                page: Any = await self._redis.hmget(sale_keys(shard, sale_id).tokens, tokens)
            found = [old or new for old, new in zip(found, page, strict=True)]
        return found

    async def _intents(self) -> CheckResult:
        """Acknowledged entries that are still in the stream must have been applied."""
        found = Violations()
        sql = load_sql("flashorder.inventory.reconciliation")["read_in_stream"]
        for shard in range(self._shards):
            state = await group_state(self._redis, shard)
            ms, seq = state.lowest_unacknowledged
            last = (ms, seq - 1) if seq else (ms - 1, _LAST[1])
            async for page in read_entries(self._redis, shard, (0, 0), last):
                with database_failures():
                    rows = await self._pool.fetch(
                        sql,
                        [each.shard for each in page],
                        [each.ms for each in page],
                        [each.seq for each in page],
                    )
                for row in rows:
                    each = page[row["position"]]
                    found.add(shard=shard, intent=f"{each.ms}-{each.seq}")
        return found.result(
            "front", "acknowledged_is_applied", "every acknowledged stream entry is in PostgreSQL"
        )

    async def _scan(self, sale_id: uuid.UUID, name: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Every field of a hash of the sale, over all shards; a field seen twice is passed over."""
        for shard in range(self._shards):
            key = getattr(sale_keys(shard, sale_id), name)
            cursor = 0
            page: Any
            seen: set[bytes] = set()
            while True:
                with store_failures():
                    cursor, page = await self._redis.hscan(key, cursor, count=PAGE)
                for field, value in page.items():
                    if field not in seen:
                        seen.add(field)
                        yield field, value
                if not cursor:
                    break


def _units(reading: ItemReading) -> dict[str, int]:
    return {
        "available": reading.available,
        "sold": reading.sold,
        "applied": reading.applied,
        "unreleased": reading.unreleased,
        "in_stream": reading.in_stream,
        "dead_letters": reading.dead_letters,
        "allotted": reading.allotted,
    }
