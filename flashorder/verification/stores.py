"""Checks that need both stores: what the front says against what PostgreSQL has booked."""

from __future__ import annotations

from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory.reconciliation.model import ItemReading
from flashorder.inventory.reconciliation.reading import Reader, Readings
from flashorder.inventory.reconciliation.stream import as_bigint, group_state, read_entries
from flashorder.verification.heads import SaleHeads
from flashorder.verification.model import CheckResult, Violations
from flashorder.verification.purchases import PurchaseChecks

_SQL = load_sql("flashorder.verification")
_LAST_SEQUENCE = 2**63 - 1


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
            *await SaleHeads(self._pool, self._redis, self._shards).check(),
            *await PurchaseChecks(self._pool, self._redis, self._shards).check(sales),
            await self._intents(),
        ]

    def _stock(self, readings: Readings) -> list[CheckResult]:
        missing, unreadable, negative, drifting, unbooked = (Violations() for _ in range(5))
        for each in readings.values():
            where = {"sale_id": str(each.sale_id), "sku": each.sku}
            if not each.at_front:
                missing.add(**where)
                continue
            if not each.readable:
                unreadable.add(**where, generation=each.generation)
            if each.available < 0 or each.sold < 0:
                negative.add(**where, available=each.available, sold=each.sold)
            if each.drift:
                drifting.add(**where, drift=each.drift, **_units(each))
            least = each.held - each.moving.held_below
            if not least <= each.sold <= each.held + each.moving.held_above:
                unbooked.add(**where, **_units(each))
        return [
            missing.result("front", "sale_known", "the front knows every sale that it was told"),
            unreadable.result(
                "front",
                "readable",
                "the front is of the generation that PostgreSQL says, and the stream can be read",
            ),
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

    async def _intents(self) -> CheckResult:
        """Acknowledged entries that are still in the stream must have been applied."""
        found = Violations()
        sql = load_sql("flashorder.inventory.reconciliation")["read_in_stream"]
        for shard in range(self._shards):
            state = await group_state(self._redis, shard)
            ms, seq = state.lowest_unacknowledged
            last = (ms, seq - 1) if seq else (ms - 1, _LAST_SEQUENCE)
            async for page in read_entries(self._redis, shard, (0, 0), last):
                with database_failures():
                    rows = await self._pool.fetch(
                        sql,
                        [each.shard for each in page],
                        [as_bigint(each.ms) for each in page],
                        [as_bigint(each.seq) for each in page],
                    )
                for row in rows:
                    each = page[row["position"]]
                    found.add(shard=shard, intent=f"{each.ms}-{each.seq}")
        return found.result(
            "front", "acknowledged_is_applied", "every acknowledged stream entry is in PostgreSQL"
        )


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
