"""Telling the front what PostgreSQL promised, until it has it; every step may be made again."""

from __future__ import annotations

import uuid
from datetime import datetime

import structlog

from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.kernel.errors import StoreUnavailable
from flashorder.sales import store
from flashorder.sales.front import (
    ChangeOutcome,
    FrontItem,
    FrontSale,
    OpenOutcome,
    SaleFront,
    TopUpOutcome,
)
from flashorder.sales.model import LIVE, Sale, SaleStatus, TopUp
from flashorder.sales.store import SQL

log = structlog.get_logger(__name__)
BATCH_SALES = 100
BATCH_TOP_UPS = 500
OPENS_EARLY_SECONDS = 5.0
"""A scheduled sale is live this much before its start; the front's clock decides the start."""
CLOSES_LATE_SECONDS = 1.0
_ROUNDS_MAX = 8


class Convergence:
    """Brings the front to what PostgreSQL says.

    A sale is opened at the front only while PostgreSQL says that it never was there
    (``synced_revision = 0``); after that it is only changed. A store that has lost the sale
    is therefore never handed its stock a second time: the sale stays out of step, buyers are
    refused, and a rebuild is what mends it. While a rebuild fills the front, nothing is told here.
    """

    def __init__(self, pool: Pool, front: SaleFront) -> None:
        self._pool = pool
        self._front = front
        self._told_as_lost: set[uuid.UUID] = set()

    async def push(self, sale_id: uuid.UUID) -> bool:
        """Bring one sale and its top-ups to the front; False when it stays out of step.

        ``StoreUnavailable`` when the store is away. A change made meanwhile is pushed as well.
        """
        for _ in range(_ROUNDS_MAX):
            sales = await store.read_sales(self._pool, [sale_id])
            if not sales or sales[0].status is SaleStatus.DRAFT or sales[0].rebuilding:
                return False
            sale = sales[0]
            if not await self._tell(sale):
                self._note_lost(sale)
                return False
            newest = await self._mark_synced(sale)
            if newest == sale.revision:
                break
        for top_up in await store.unapplied_top_ups(self._pool, sale_id, BATCH_TOP_UPS):
            await self.apply(top_up)
        return True

    async def try_push(self, sale_id: uuid.UUID) -> None:
        """Push now if the store is there; otherwise the job does it when it is back."""
        try:
            await self.push(sale_id)
        except StoreUnavailable as error:
            log.warning("sale_push_postponed", sale_id=str(sale_id), error=error.detail)

    async def apply(self, top_up: TopUp) -> bool:
        """Tell the front of one top-up; False when it cannot have it now."""
        outcome = await self._front.top_up(
            top_up.sale_id, top_up.generation, top_up.top_up_id, top_up.sku, top_up.quantity
        )
        if outcome not in {TopUpOutcome.APPLIED, TopUpOutcome.ALREADY_APPLIED}:
            log.debug("top_up_waits", top_up_id=str(top_up.top_up_id), outcome=outcome)
            return False
        with database_failures():
            await self._pool.execute(SQL["mark_top_up"], top_up.top_up_id, top_up.generation)
        return True

    async def push_unsynced(self) -> int:
        """Job: push what is out of step; how many sales were brought in step."""
        with database_failures():
            rows = await self._pool.fetch(SQL["unsynced"], BATCH_SALES)
        return sum([await self.push(row["sale_id"]) for row in rows])

    async def push_top_ups(self) -> int:
        """Job: tell the front of top-ups that a crash or an outage kept from it."""
        waiting = await store.unapplied_top_ups(self._pool, None, BATCH_TOP_UPS)
        return sum([await self.apply(top_up) for top_up in waiting])

    async def follow_the_clock(self) -> int:
        """Job: open scheduled sales whose start has come, close live ones whose end has passed."""
        with database_failures():
            opened = await self._pool.fetch(SQL["open_due"], OPENS_EARLY_SECONDS)
            closed = await self._pool.fetch(SQL["close_ended"], sorted(LIVE), CLOSES_LATE_SECONDS)
        for row in (*opened, *closed):
            await self.try_push(row["sale_id"])
        return len(opened) + len(closed)

    async def _tell(self, sale: Sale) -> bool:
        if sale.status is SaleStatus.SETTLED:
            await self._front.remove(sale.sale_id)
            return True
        wanted = front_sale(sale)
        if sale.synced_revision == 0 and not any(item.committed for item in sale.items):
            opened = await self._front.open(wanted)
            if opened is OpenOutcome.OPENED:
                return True
            if opened is OpenOutcome.STALE_GENERATION:
                return False
        changed = await self._front.change(wanted)
        return changed in {ChangeOutcome.CHANGED, ChangeOutcome.NOT_NEWER}

    async def _mark_synced(self, sale: Sale) -> int:
        with database_failures():
            newest = await self._pool.fetchval(
                SQL["mark_synced"], sale.sale_id, sale.revision, sale.generation
            )
        self._told_as_lost.discard(sale.sale_id)
        # No row: a rebuild began a new generation meanwhile, which is pushed from the beginning.
        return -1 if newest is None else int(newest)

    def _note_lost(self, sale: Sale) -> None:
        if sale.sale_id not in self._told_as_lost:
            self._told_as_lost.add(sale.sale_id)
            log.error("sale_lost_at_front", sale_id=str(sale.sale_id), generation=sale.generation)


def front_sale(sale: Sale) -> FrontSale:
    """``sale`` as the front is told of it: opening stock without top-ups, which come by id."""
    return FrontSale(
        sale_id=sale.sale_id,
        title=sale.title,
        status=sale.status,
        currency=sale.currency,
        starts_at_ms=_unix_ms(sale.starts_at),
        ends_at_ms=_unix_ms(sale.ends_at),
        payment_window_seconds=sale.payment_window_seconds,
        generation=sale.generation,
        revision=sale.revision,
        items=tuple(
            FrontItem(
                sku=item.sku,
                name=item.name,
                unit_price_amount=item.unit_price_amount,
                list_price_amount=item.list_price_amount,
                per_buyer_limit=item.per_buyer_limit,
                quantity=item.allotted - item.topped_up,
            )
            for item in sale.items
        ),
    )


def _unix_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
