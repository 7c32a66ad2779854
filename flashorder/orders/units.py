"""The one arrow that points back: a cancelled order's units return to the front."""

from __future__ import annotations

import uuid

import structlog

from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.kernel.errors import Unavailable
from flashorder.kernel.events import Event
from flashorder.orders.store import SQL
from flashorder.reservations.ports import Holds, ReleaseOutcome

log = structlog.get_logger(__name__)


class OrderUnits:
    """Gives units back through ``holds``; every call may be repeated."""

    def __init__(self, pool: Pool, holds: Holds) -> None:
        self._pool = pool
        self._holds = holds

    async def order_cancelled(self, event: Event) -> None:
        """Handle ORDER_CANCELLED: the hold that the cancellation names, and no newer one."""
        if event.payload.get("sale_id") is None:
            return
        await self.release(
            event.key,
            uuid.UUID(event.payload["sale_id"]),
            uuid.UUID(event.payload["buyer_id"]),
            event.payload["hold"],
        )

    async def release(
        self, order_id: uuid.UUID, sale_id: uuid.UUID, buyer_id: uuid.UUID, hold: int
    ) -> None:
        """Give the units of ``hold`` back, then write down that it is done.

        The release comes first: a death in between releases again, which the front knows; the
        other way round the units would be lost.
        """
        outcome = await self._holds.release(sale_id, order_id, buyer_id, hold)
        if outcome in (ReleaseOutcome.UNKNOWN_ORDER, ReleaseOutcome.SALE_GONE):
            log.info("release_found_nothing", order_id=str(order_id), hold=hold, outcome=outcome)
        with database_failures():
            await self._pool.execute(SQL["set_released"], order_id, hold)

    async def release_forgotten(self, older_than_seconds: float, orders_max: int) -> int:
        """Release what was cancelled ``older_than_seconds`` ago and is not marked as given back.

        The net below the outbox: nothing that a lost event or a bug there could keep from a buyer.
        An order that cannot be released keeps none of the others; returns how many were. Raises
        ``Unavailable`` when a store is away: then no other would fare better.
        """
        with database_failures():
            rows = await self._pool.fetch(SQL["unreleased"], older_than_seconds, orders_max)
        done = 0
        for row in rows:
            try:
                await self.release(row["order_id"], row["sale_id"], row["buyer_id"], row["hold"])
            except Unavailable:
                raise
            except Exception as error:  # whatever it is, it is told, and tried again next time
                log.error("units_not_released", order_id=str(row["order_id"]), error=repr(error))
            else:
                done += 1
        return done
