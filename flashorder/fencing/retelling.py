"""Telling a server again what the front was told last.

A store that has forgotten a purchase has a shorter stream. Everything else that it was told is a
fact of PostgreSQL's: heads of sales, top-ups, units given back and taken again. What a server kept
it kept up to some moment, which is not before its last entry. So whatever was told since then is
told again: each of it counts once, whether or not it is there.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import asyncpg
from redis.asyncio import Redis

from flashorder.fencing.model import numbers_of
from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.clock import LAST_MOMENT
from flashorder.reservations.holds import StoreHolds
from flashorder.reservations.ports import ReclaimOutcome, ReleaseOutcome
from flashorder.sales import store
from flashorder.sales.convergence import front_sale
from flashorder.sales.front import SaleFront, TopUpOutcome

_SQL = load_sql("flashorder.fencing")
PAGE = 500
CLOCKS_DIFFER_SECONDS = 60.0
"""By how much the clocks of the store and of PostgreSQL may differ; ``doctor`` tells much less."""
_FIRST_ID = uuid.UUID(int=0)
# A sale that this server has lost as a whole sells nothing, whoever holds its units.
_TAKEN = frozenset(
    {ReclaimOutcome.RECLAIMED, ReclaimOutcome.ALREADY_RECLAIMED, ReclaimOutcome.SALE_GONE}
)
_GIVEN_BACK = frozenset(
    {
        ReleaseOutcome.RELEASED,
        ReleaseOutcome.ALREADY_RELEASED,
        ReleaseOutcome.SUPERSEDED,
        ReleaseOutcome.SALE_GONE,
    }
)


class Retelling:
    """Tells one ``shard`` of the server behind ``redis``.

    Raises ``StoreUnavailable``, ``DatabaseUnavailable``; it may be begun again.
    """

    def __init__(self, pool: Pool, redis: Redis, shard: int, shards: int) -> None:
        self._pool = pool
        self._shard = shard
        self._front = SaleFront(redis, shards, only=shard)
        self._holds = StoreHolds(redis, shards)

    async def run(self, last_id: bytes) -> bool:
        """Whether the server could take everything that was told since the entry ``last_id``."""
        seconds = min(numbers_of(last_id)[0] / 1000, LAST_MOMENT.timestamp())
        since = datetime.fromtimestamp(seconds, UTC)
        await self._sales()
        return await self._top_ups(since) and await self._holds_since(since)

    async def forget_settled(self, sale_ids: list[uuid.UUID]) -> None:
        """Sales that are settled, and are here again, are forgotten again."""
        with database_failures():
            rows = await self._pool.fetch(_SQL["settled_among"], sale_ids)
        for row in rows:
            await self._front.remove(row["sale_id"])

    async def _sales(self) -> None:
        with database_failures():
            rows = await self._pool.fetch(_SQL["sales_in_step"])
        for at in range(0, len(rows), PAGE):
            page = [row["sale_id"] for row in rows[at : at + PAGE]]
            for sale in await store.read_sales(self._pool, page):
                await self._front.change(front_sale(sale))

    async def _top_ups(self, since: datetime) -> bool:
        with database_failures():
            rows = await self._pool.fetch(_SQL["top_ups_since"], since, CLOCKS_DIFFER_SECONDS)
        outcomes = {
            await self._front.top_up(
                row["sale_id"], row["generation"], row["top_up_id"], row["sku"], row["quantity"]
            )
            for row in rows
        }
        return TopUpOutcome.BELOW_ZERO not in outcomes

    async def _holds_since(self, since: datetime) -> bool:
        after = _FIRST_ID
        while True:
            with database_failures():
                rows = await self._pool.fetch(
                    _SQL["holds_since"], self._shard, since, after, PAGE, CLOCKS_DIFFER_SECONDS
                )
            for row in rows:
                if not await self._hold(row):
                    return False
            if len(rows) < PAGE:
                return True
            after = rows[-1]["order_id"]

    async def _hold(self, row: asyncpg.Record) -> bool:
        """Whether the hold stands as it was told; if it does not yet, by way of those before it."""
        if await self._stands(row):
            return True
        for hold in range(1, row["hold"]):
            await self._holds.release(*_who(row), hold)
            await self._holds.reclaim(*_who(row), hold + 1)
        # Units that no record holds are nobody's: there is nothing to be given back.
        return await self._stands(row) or row["released"] or await self._moved_on(row)

    async def _stands(self, row: asyncpg.Record) -> bool:
        if row["released"]:
            return await self._holds.release(*_who(row), row["hold"]) in _GIVEN_BACK
        return await self._holds.reclaim(*_who(row), row["hold"]) in _TAKEN

    async def _moved_on(self, row: asyncpg.Record) -> bool:
        """Whether the order is another by now: then whoever moved it tells the front."""
        with database_failures():
            same = await self._pool.fetchval(_SQL["is_held_by"], row["order_id"], row["hold"])
        return not same


def _who(row: asyncpg.Record) -> tuple[uuid.UUID, uuid.UUID, uuid.UUID]:
    return row["sale_id"], row["order_id"], row["buyer_id"]
