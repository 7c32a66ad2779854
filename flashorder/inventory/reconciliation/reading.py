"""Take one reading of both stores. The order of the steps is what makes it true; see model.py."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Connection, Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory.reconciliation.model import ItemReading, Moving
from flashorder.inventory.reconciliation.stream import (
    ENTRIES_MAX,
    StreamEntry,
    as_bigint,
    group_state,
    read_entries,
)
from flashorder.sales.front import FENCED, SaleFront, ShardSnapshot

_SQL = load_sql("flashorder.inventory.reconciliation")
_SEQ_MAX = 2**63 - 1
PAGE_ENTRIES = 5000

Readings = dict[tuple[uuid.UUID, str], ItemReading]


@dataclass(frozen=True, slots=True)
class _Front:
    """What the store said: snapshots a sale, the watermark a shard, entries up to it."""

    began_at: datetime
    floor: tuple[int, int]
    snapshots: dict[uuid.UUID, list[ShardSnapshot]]
    entries: list[StreamEntry]
    complete: bool

    def marks(self, sale_id: uuid.UUID) -> dict[int, tuple[int, int]]:
        """The watermark of each shard for this sale: another sale's snapshot may be newer."""
        return {each.shard: max(each.last_intent, self.floor) for each in self.snapshots[sale_id]}


class Reader:
    """Takes readings; raises ``StoreUnavailable`` and ``DatabaseUnavailable``."""

    def __init__(self, pool: Pool, redis: Redis, front: SaleFront, shards: int) -> None:
        self._pool = pool
        self._redis = redis
        self._front = front
        self._shards = shards

    async def read(self, sale_id: uuid.UUID | None) -> Readings:
        """Every item of every sale at the front, or of ``sale_id`` alone."""
        with database_failures():
            began_at: datetime = await self._pool.fetchval("SELECT clock_timestamp()")
            rows = await self._pool.fetch(_SQL["list_sales"], sale_id)
        front = await self._read_front(began_at, sorted({row["sale_id"] for row in rows}))
        with database_failures():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return await self._read_database(connection, front, sale_id)

    async def _read_front(self, began_at: datetime, sales: Sequence[uuid.UUID]) -> _Front:
        # Entries of earlier milliseconds than this one are in any snapshot taken from here on: so
        # orders count that came through a stream which the store has lost since.
        floor = (await self._front.now_ms() - 1, _SEQ_MAX)
        snapshots = {sale: await self._front.snapshot(sale) for sale in sales}
        last_intents = dict.fromkeys(range(self._shards), floor)
        for shard_snapshots in snapshots.values():
            for each in shard_snapshots:
                last_intents[each.shard] = max(last_intents[each.shard], each.last_intent)
        entries: list[StreamEntry] = []
        complete = True
        for shard, last in last_intents.items():
            state = await group_state(self._redis, shard)
            async for page in read_entries(self._redis, shard, state.lowest_unacknowledged, last):
                entries.extend(page)
                if len(entries) >= ENTRIES_MAX:
                    complete = False
                    break
        return _Front(began_at, floor, snapshots, entries, complete)

    async def _read_database(
        self, connection: Connection, front: _Front, sale_id: uuid.UUID | None
    ) -> Readings:
        rows = await connection.fetch(_SQL["list_sales"], sale_id)
        items: dict[uuid.UUID, list[tuple[str, int, int]]] = defaultdict(list)
        for row in rows:
            if row["sale_id"] in front.snapshots:  # one that came meanwhile waits for its turn
                items[row["sale_id"]].append((row["sku"], row["generation"], row["allotted"]))
        waiting = await _waiting_entries(connection, front.entries)
        readings: Readings = {}
        for sale, promised in items.items():
            in_stream = _in_stream(front, waiting, sale)
            for reading in await self._read_sale(connection, front, sale, promised, in_stream):
                readings[sale, reading.sku] = reading
        return readings

    async def _read_sale(
        self,
        connection: Connection,
        front: _Front,
        sale_id: uuid.UUID,
        promised: list[tuple[str, int, int]],
        in_stream: Counter[str],
    ) -> list[ItemReading]:
        snapshots = front.snapshots[sale_id]
        marks = front.marks(sale_id)
        window = (
            sale_id,
            list(marks),
            [min(ms, _SEQ_MAX) for ms, _ in marks.values()],
            [min(seq, _SEQ_MAX) for _, seq in marks.values()],
            front.began_at,
        )
        generation = promised[0][1]
        orders = await _by_sku(connection, "read_orders", *window)
        dead = await _by_sku(connection, "read_dead_letters", *window)
        adjusted = await _by_sku(connection, "read_adjustments", sale_id, front.began_at)
        whole = len(snapshots) == self._shards and all(
            each.generation != FENCED for each in snapshots
        )
        same_generation = all(each.generation == generation for each in snapshots)
        return [
            _with_database(
                ItemReading(
                    sale_id=sale_id,
                    sku=sku,
                    generation=generation,
                    allotted=allotted,
                    at_front=whole,
                    available=sum(each.stock.get(sku, 0) for each in snapshots),
                    sold=sum(each.sold.get(sku, 0) for each in snapshots),
                    in_stream=in_stream[sku],
                    readable=front.complete and same_generation,
                ),
                orders[sku],
                dead[sku],
                adjusted[sku],
            )
            for sku, generation, allotted in promised
        ]


async def _waiting_entries(
    connection: Connection, entries: Sequence[StreamEntry]
) -> list[StreamEntry]:
    """Those of ``entries`` that PostgreSQL knows nothing of yet."""
    waiting: list[StreamEntry] = []
    for start in range(0, len(entries), PAGE_ENTRIES):
        page = entries[start : start + PAGE_ENTRIES]
        rows = await connection.fetch(
            _SQL["read_in_stream"],
            [each.shard for each in page],
            [as_bigint(each.ms) for each in page],
            [as_bigint(each.seq) for each in page],
        )
        waiting.extend(page[row["position"]] for row in rows)
    return waiting


def _in_stream(front: _Front, waiting: list[StreamEntry], sale_id: uuid.UUID) -> Counter[str]:
    marks = front.marks(sale_id)
    units: Counter[str] = Counter()
    for each in waiting:
        if each.sale_id == sale_id and (each.ms, each.seq) <= marks.get(each.shard, (0, 0)):
            units[each.sku] += each.quantity
    return units


async def _by_sku(
    connection: Connection, statement: str, *arguments: object
) -> defaultdict[str, Counter[str]]:
    """The sums of ``statement`` by SKU; an SKU without a row has zeros."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in await connection.fetch(_SQL[statement], *arguments):
        sums[row["sku"]] = Counter({k: int(v) for k, v in row.items() if k != "sku"})
    return sums


def _with_database(
    front: ItemReading, orders: Counter[str], dead: Counter[str], adjusted: Counter[str]
) -> ItemReading:
    return replace(
        front,
        allotted=front.allotted - adjusted["promised"],
        applied=orders["applied"],
        unreleased=orders["unreleased"],
        dead_letters=dead["held"],
        moving=Moving(
            held_above=orders["released"] + orders["reclaiming"] + dead["released"],
            held_below=orders["unreleased"] + orders["reclaimed"] + dead["releasing"],
            allotted_above=adjusted["raising"] + adjusted["lowered"],
            allotted_below=adjusted["lowering"] + adjusted["raised"],
        ),
    )
