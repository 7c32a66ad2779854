"""The end of a sale: what it did not sell goes back to stock, and the front forgets it."""

from __future__ import annotations

import uuid
from collections import Counter

import structlog

from flashorder.infra.postgres.pool import Connection, Pool, database_failures, transaction
from flashorder.kernel.errors import Conflict, NotFound
from flashorder.sales import store
from flashorder.sales.convergence import Convergence
from flashorder.sales.front import FENCED, SaleFront
from flashorder.sales.model import SALE, Sale, SaleStatus
from flashorder.sales.ports import StockLedger
from flashorder.sales.store import SQL

log = structlog.get_logger(__name__)
SETTLED_PER_ROUND = 50
ACTOR = "job:sales"


class Settling:
    """Settles one sale when an operator says so, and each by itself ``delay_seconds`` after it
    closed (0: never)."""

    def __init__(
        self,
        pool: Pool,
        front: SaleFront,
        stock: StockLedger,
        convergence: Convergence,
        *,
        delay_seconds: float,
    ) -> None:
        self._pool = pool
        self._front = front
        self._stock = stock
        self._convergence = convergence
        self._delay_seconds = delay_seconds

    async def settle(self, sale_id: uuid.UUID, *, actor: str) -> None:
        """See ``SalesService.settle``."""
        sale = await self._read(sale_id)
        if sale.status is SaleStatus.SETTLED:
            return
        SALE.check(sale.status, SaleStatus.SETTLED)
        await self._convergence.push(sale_id)
        lost = await self._check_drained(sale_id)
        if not lost:
            # A receipt may still take units of a closed sale; from here on none does, and one that
            # came just before is seen.
            await self._front.seal(sale_id)
            lost = await self._check_drained(sale_id)
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(
                SQL["settle"], sale_id, SALE.sources(SaleStatus.SETTLED), lost
            )
            if row is None:
                raise _not_drained(
                    "it has unpaid orders or dead letters, or the front has not heard of its "
                    "closing or a top-up"
                )
            if lost:
                await connection.execute(SQL["end_top_ups"], sale_id)
            await self._return_unsold(connection, sale_id, actor)
        await self._convergence.try_push(sale_id)

    async def settle_closed(self) -> int:
        """Job: settle what closed ``delay_seconds`` ago and is drained; how many."""
        if not self._delay_seconds:
            return 0
        with database_failures():
            rows = await self._pool.fetch(
                SQL["closed_for_long"], self._delay_seconds, SETTLED_PER_ROUND
            )
        settled = 0
        for row in rows:
            try:
                await self.settle(row["sale_id"], actor=ACTOR)
            except Conflict as refusal:
                log.info("sale_not_settled", sale_id=str(row["sale_id"]), why=refusal.detail)
            else:
                settled += 1
        return settled

    async def return_late_units(self) -> int:
        """Job: units of orders that were cancelled after their sale was settled go to stock."""
        async with transaction(self._pool) as connection:
            rows = await connection.fetch(SQL["settled_with_unsold"], SETTLED_PER_ROUND)
            for row in rows:
                await self._return_unsold(connection, row["sale_id"], ACTOR)
        return len(rows)

    async def _check_drained(self, sale_id: uuid.UUID) -> bool:
        """Whether the front has nothing of the sale; what it has must be what PostgreSQL has.

        Every purchase on its way in, every cancellation on its way back and every dead letter
        makes the front's number of units sold the greater one. Two readings around PostgreSQL's
        leave no room for one to come while another goes. A front that never had the sale, or has
        lost it, has nothing on its way.
        """
        before = await self._sold_at_front(sale_id)
        committed = {item.sku: item.committed for item in (await self._read(sale_id)).items}
        after = await self._sold_at_front(sale_id)
        if before is None and after is None:
            return True
        if before != after or before != committed:
            raise _not_drained("purchases or cancellations are on their way between the stores")
        return False

    async def _sold_at_front(self, sale_id: uuid.UUID) -> dict[str, int] | None:
        shards = await self._front.snapshot(sale_id)
        if not shards:
            return None
        if any(shard.generation == FENCED for shard in shards):
            raise _not_drained("its store is behind what was told: rebuild it first")
        total: Counter[str] = Counter()
        for shard in shards:
            total.update(shard.sold)
        return dict(total)

    async def _read(self, sale_id: uuid.UUID) -> Sale:
        sales = await store.read_sales(self._pool, [sale_id])
        if not sales:
            raise NotFound("there is no such sale", code="sale_not_found")
        return sales[0]

    async def _return_unsold(self, connection: Connection, sale_id: uuid.UUID, actor: str) -> None:
        rows = await connection.fetch(SQL["lock_items"], sale_id)
        unsold = {
            row["sku"]: row["allotted"] - row["committed"]
            for row in rows
            if row["allotted"] > row["committed"]
        }
        await connection.execute(SQL["return_unsold"], sale_id)
        await self._stock.release(
            connection, unsold, sale_id=sale_id, cause="sale_settled", actor=actor
        )


def _not_drained(why: str) -> Conflict:
    return Conflict(
        f"the sale cannot be settled yet: {why}", code="sale_not_drained", retry_after_seconds=1.0
    )
