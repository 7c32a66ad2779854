"""Each sale and item at the front, field by field, against what PostgreSQL has told it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import store_failures
from flashorder.sales.convergence import front_sale
from flashorder.sales.front import FrontItem, FrontSale
from flashorder.sales.store import read_sales
from flashorder.verification.model import CheckResult, Violations

_SQL = load_sql("flashorder.verification")
PAGE_SALES = 100
Difference = tuple[str, Any, Any]
"""Field, what the front has, what it was told."""


class SaleHeads:
    """Only sales that are in step are compared: the others are being told, or were lost."""

    def __init__(self, pool: Pool, redis: Redis, shards: int) -> None:
        self._pool = pool
        self._redis = redis
        self._shards = shards

    async def check(self) -> list[CheckResult]:
        """Two checks: what is there is as it was told, and nothing else is there."""
        return [await self._as_told(), await self._strangers()]

    async def _as_told(self) -> CheckResult:
        found = Violations()
        async for sale in self._in_step():
            for shard in range(self._shards):
                listed, *front = await self._read(sale.sale_id, shard)
                unlike = list(differences(sale, front))
                if any(front) and not listed:
                    unlike.append(("listed", False, True))
                for field, has, told in unlike:
                    where = {"sale_id": str(sale.sale_id), "shard": shard}
                    found.add(**where, field=field, front=has, told=told)
        return found.result(
            "front", "sale_as_told", "the front has each sale and item as PostgreSQL told it"
        )

    async def _in_step(self) -> AsyncIterator[FrontSale]:
        last = uuid.UUID(int=0)
        while True:
            with database_failures():
                rows = await self._pool.fetch(_SQL["sales_in_step"], last, PAGE_SALES)
            if not rows:
                return
            last = rows[-1]["sale_id"]
            for sale in await read_sales(self._pool, [row["sale_id"] for row in rows]):
                yield front_sale(sale)

    async def _read(self, sale_id: uuid.UUID, shard: int) -> list[Any]:
        """Whether one shard lists the sale; its sale, items, stock and sold."""
        key = keys.sale_keys(shard, sale_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.sismember(keys.sales(shard), str(sale_id))
            for name in (key.sale, key.items, key.stock, key.sold):
                pipe.hgetall(name)
            with store_failures():
                return list(await pipe.execute())

    async def _strangers(self) -> CheckResult:
        found = Violations()
        for shard in range(self._shards):
            with store_failures():
                known = [uuid.UUID(_text(each)) for each in await self._members(shard)]
            with database_failures():
                rows = await self._pool.fetch(_SQL["strangers"], known)
            for row in rows:
                found.add(sale_id=str(row["sale_id"]), shard=shard, status=row["status"])
        return found.result(
            "front", "no_stranger", "the front knows no sale that is settled, a draft, or nowhere"
        )

    async def _members(self, shard: int) -> set[bytes]:
        members: Any = await self._redis.smembers(keys.sales(shard))
        return set(members)


def differences(told: FrontSale, front: Sequence[Mapping[bytes, bytes]]) -> Iterator[Difference]:
    """What one shard has otherwise than it was told; nothing if it lacks the sale altogether.

    Name and list price of an item come from the product, which may have changed since; the units
    are for reconciliation to judge.
    """
    head, items, stock, sold = ({_text(k): _text(v) for k, v in each.items()} for each in front)
    if not head:
        return
    yield from _unequal(head, _head(told))
    yield from _unequal(
        {f"{sku}: price and limit": packed.split("|")[:2] for sku, packed in items.items()},
        {f"{each.sku}: price and limit": _terms(each) for each in told.items},
    )
    skus = sorted(each.sku for each in told.items)
    for name, hash_ in (("stock", stock), ("sold", sold)):
        if sorted(hash_) != skus:
            yield f"{name}: SKUs", sorted(hash_), skus


def _head(sale: FrontSale) -> dict[str, str]:
    return {
        "generation": str(sale.generation),
        "revision": str(sale.revision),
        "status": str(sale.status),
        "title": sale.title,
        "currency": sale.currency,
        "starts_at_ms": str(sale.starts_at_ms),
        "ends_at_ms": str(sale.ends_at_ms),
        "window_ms": str(sale.payment_window_seconds * 1000),
    }


def _terms(item: FrontItem) -> list[str]:
    return [str(item.unit_price_amount), str(item.per_buyer_limit)]


def _unequal(front: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[Difference]:
    for field in sorted({*front, *told}):
        if front.get(field) != told.get(field):
            yield field, front.get(field), told.get(field)


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
