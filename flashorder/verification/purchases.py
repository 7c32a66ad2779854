"""What the front remembers of each purchase and buyer against the orders: page by page.

Each side is gone through and looked up in the other, so that neither has more than the other; a
page is all that is in memory at a time, however many purchases there are.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.keys import sale_keys
from flashorder.kernel.identifiers import order_number, shard_of
from flashorder.reservations.records import PurchaseRecord
from flashorder.verification.model import CheckResult, Violations

_SQL = load_sql("flashorder.verification")
PAGE = 1000
BUYER_BYTES = 16
PREFIX_BYTES = 6
FIRST_ID = uuid.UUID(int=0)
_HOLD_OF_THE_CLICK = 1
Pair = tuple[bytes, bytes]


class PurchaseChecks:
    """Raises ``StoreUnavailable`` and ``DatabaseUnavailable``."""

    def __init__(self, pool: Pool, redis: Redis, shards: int) -> None:
        self._pool = pool
        self._redis = redis
        self._shards = shards

    async def check(self, sales: Sequence[uuid.UUID]) -> list[CheckResult]:
        """Of ``sales`` at the front: tokens, records, limits and holdings."""
        unplaced, records, limits, holdings = (Violations() for _ in range(4))
        for sale_id in sales:
            await self._tokens(sale_id, unplaced, records)
            await self._orders(sale_id, records)
            await self._buyers(sale_id, limits, holdings)
            await self._holders(sale_id, holdings)
        return [
            unplaced.result("front", "accepted_is_order", "every 202 is one order or dead letter"),
            records.result(
                "front", "records_agree", "the front remembers each order, its hold and its terms"
            ),
            limits.result("front", "buyer_limit", "no buyer holds more than permitted"),
            holdings.result(
                "front", "holdings_agree", "each buyer holds what their orders take, nobody else"
            ),
        ]

    async def _tokens(self, sale_id: uuid.UUID, unplaced: Violations, records: Violations) -> None:
        """Each token at the front has an order, which ``_orders`` compares, or a dead letter."""
        async for page in self._scan(sale_id, "tokens"):
            kept = dict(page)
            with database_failures():
                rows = await self._pool.fetch(
                    _SQL["unplaced_tokens"], sale_id, list(kept), list(map(order_number, kept))
                )
            for row in rows:
                if row["order_id"] is None:
                    unplaced.add(sale_id=str(sale_id), token=row["token"].hex())
                    continue
                told = {name: row[name] for name in ("sku", "quantity") if row[name] is not None}
                told |= {"held": row["held"], "hold": _HOLD_OF_THE_CLICK}
                _compare(records, sale_id, row, told, kept[row["token"]])

    async def _orders(self, sale_id: uuid.UUID, found: Violations) -> None:
        """Each order has its record at the front, and both say the same."""
        last = FIRST_ID
        while True:
            with database_failures():
                rows = await self._pool.fetch(_SQL["purchases"], sale_id, last, PAGE)
            if not rows:
                return
            last = rows[-1]["order_id"]
            for shard, own in self._by_shard(rows):
                tokens = [row["order_id"].bytes[PREFIX_BYTES:] for row in own]
                kept = await self._look_up(sale_keys(shard, sale_id).tokens, tokens)
                for row, record in zip(own, kept, strict=True):
                    told = {
                        name: row[name]
                        for name in ("held", "hold", "fingerprint", "quantity",
                                     "unit_price_amount", "due_ms", "sku")
                    }  # fmt: skip
                    _compare(found, sale_id, row, told, record)

    async def _buyers(self, sale_id: uuid.UUID, limits: Violations, found: Violations) -> None:
        """Each holding at the front is what the buyer's orders and dead letters take."""
        async for page in self._scan(sale_id, "buyers"):
            held = [(*_holder(field), _whole(units)) for field, units in page]
            with database_failures():
                rows = await self._pool.fetch(
                    _SQL["units_of_buyers"],
                    sale_id,
                    [buyer for buyer, _, _ in held],
                    [sku for _, sku, _ in held],
                )
            for row, (_, _, units) in zip(rows, held, strict=True):
                buyer_id = str(row["buyer_id"])
                where = {"sale_id": str(sale_id), "sku": row["sku"], "buyer_id": buyer_id}
                if not 0 < units <= (row["per_buyer_limit"] or 0):
                    limits.add(**where, units=units)
                if units != row["units"]:
                    found.add(**where, front=units, units=int(row["units"]))

    async def _holders(self, sale_id: uuid.UUID, found: Violations) -> None:
        """Each buyer whose orders take units is known to the front; ``_buyers`` counts them."""
        with database_failures():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(readonly=True),
            ):
                cursor = await connection.cursor(_SQL["holdings"], sale_id)
                while rows := await cursor.fetch(PAGE):
                    for shard, own in self._by_shard(rows):
                        fields = [row["buyer_id"].bytes + row["sku"].encode() for row in own]
                        held = await self._look_up(sale_keys(shard, sale_id).buyers, fields)
                        for row, units in zip(own, held, strict=True):
                            if units is None:
                                buyer_id = str(row["buyer_id"])
                                found.add(sale_id=str(sale_id), sku=row["sku"], buyer_id=buyer_id)

    async def _scan(self, sale_id: uuid.UUID, name: str) -> AsyncIterator[Sequence[Pair]]:
        """Pages of a hash of the sale, over all shards; a field may come twice."""
        for shard in range(self._shards):
            key = getattr(sale_keys(shard, sale_id), name)
            cursor: Any = None
            page: Any
            while cursor != 0:
                with store_failures():
                    cursor, page = await self._redis.hscan(key, cursor or 0, count=PAGE)
                if page:
                    yield list(page.items())

    async def _look_up(self, key: str, fields: Sequence[bytes]) -> list[bytes | None]:
        with store_failures():
            values: Any = await self._redis.hmget(key, list(fields))
        return list(values)

    def _by_shard(self, rows: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
        """Rows with a ``buyer_id`` by the shard that the buyer belongs to."""

        def shard(row: Any) -> int:
            return shard_of(row["buyer_id"].bytes, self._shards)

        return ((number, list(own)) for number, own in groupby(sorted(rows, key=shard), shard))


def _compare(
    found: Violations, sale_id: uuid.UUID, row: Any, told: Mapping[str, Any], raw: bytes | None
) -> None:
    """Add what the record of an order or dead letter has otherwise than PostgreSQL says."""
    where = {"sale_id": str(sale_id), "order_id": str(row["order_id"])}
    try:
        record = PurchaseRecord.unpack(raw) if raw is not None else None
    except (ValueError, IndexError):
        record = None
    if record is None:
        found.add(**where, front=None if raw is None else raw.hex())
        return
    told = {"prefix": row["order_id"].bytes[:PREFIX_BYTES], **told}
    unequal = {
        name: (_shown(getattr(record, name)), _shown(value))
        for name, value in told.items()
        if getattr(record, name) != value
    }
    if row["buyer_id"] is not None and not record.belongs_to(row["buyer_id"].bytes):
        unequal["buyer_id"] = (record.fingerprint[:4].hex(), str(row["buyer_id"]))
    for name, (front, wanted) in unequal.items():
        found.add(**where, field=name, front=front, told=wanted)


def _holder(field: bytes) -> tuple[uuid.UUID, str]:
    """Buyer and SKU of a holding, also where it is not written as the scripts write it."""
    buyer_id = uuid.UUID(bytes=field[:BUYER_BYTES].ljust(BUYER_BYTES, b"\0"))
    return buyer_id, field[BUYER_BYTES:].decode(errors="backslashreplace").replace("\0", "\\0")


def _whole(units: bytes) -> int:
    return int(units) if units.isdigit() else -1


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
