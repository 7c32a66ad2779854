"""What the warehouse does, and what it hears from orders."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import asyncpg

from flashorder.fulfilment.carriers.port import LabelDocument
from flashorder.fulfilment.carriers.registry import Carriers
from flashorder.fulfilment.labels import LabelDesk
from flashorder.fulfilment.model import SHIPMENT, ShipmentStatus
from flashorder.fulfilment.store import SQL, find_shipment
from flashorder.fulfilment.tracking import TrackingDesk
from flashorder.fulfilment.views import (
    ShipmentDetailView,
    ShipmentView,
    shipment_detail_view,
    shipment_view,
)
from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.kernel.errors import InvalidState, NotFound
from flashorder.kernel.events import Event
from flashorder.kernel.identifiers import new_id
from flashorder.settings import Settings


@dataclass(frozen=True, slots=True)
class ShipmentFilter:
    """What a list is narrowed to; None: not by this."""

    status: ShipmentStatus | None = None
    order_id: uuid.UUID | None = None
    carrier: str | None = None
    tracking_number: str | None = None


class FulfilmentService:
    """Shipments. ``labels`` gets them out of the house, ``tracking`` follows them to the door."""

    def __init__(self, pool: Pool, carriers: Carriers, settings: Settings) -> None:
        self._pool = pool
        self._carriers = carriers
        self.labels = LabelDesk(pool, carriers, settings)
        self.tracking = TrackingDesk(pool, carriers, settings)

    async def order_awaits_shipment(self, event: Event) -> None:
        """Handle ORDER_AWAITING_SHIPMENT: one pending shipment, however often it is told."""
        with database_failures():
            await self._pool.execute(SQL["create"], new_id(), event.key)

    async def order_cancelled(self, event: Event) -> None:
        """Handle ORDER_CANCELLED: what has not shipped is cancelled, its label taken back later."""
        with database_failures():
            await self._pool.execute(
                SQL["cancel"],
                event.key,
                SHIPMENT.sources(ShipmentStatus.CANCELLED),
                str(event.payload.get("reason") or "order_cancelled"),
            )

    async def pick(self, shipment_id: uuid.UUID, actor: str) -> ShipmentView:
        """pending → picking. Said again, it changes nothing."""
        return await self._advance(shipment_id, ShipmentStatus.PICKING, actor)

    async def pack(self, shipment_id: uuid.UUID, actor: str) -> ShipmentView:
        """picking → packed. Said again, it changes nothing."""
        return await self._advance(shipment_id, ShipmentStatus.PACKED, actor)

    async def deliver(self, shipment_id: uuid.UUID, actor: str) -> ShipmentView:
        """shipped → delivered, where no carrier tells of the parcel. Said again: no change."""
        await self.tracking.deliver(shipment_id, actor)
        return shipment_view(await self._row(shipment_id))

    async def advance_waiting(
        self, target: ShipmentStatus, rest_seconds: float, shipments_max: int
    ) -> int:
        """Pick or pack what has rested for ``rest_seconds``; returns how many."""
        with database_failures():
            rows = await self._pool.fetch(
                SQL["advance_waiting"],
                target,
                SHIPMENT.sources(target),
                rest_seconds,
                shipments_max,
            )
        return len(rows)

    async def page(
        self, narrowed: ShipmentFilter, after: uuid.UUID | None, shipments_max: int
    ) -> list[ShipmentView]:
        """Up to ``shipments_max`` shipments, the newest first, beyond ``after``."""
        with database_failures():
            rows = await self._pool.fetch(
                SQL["page"],
                narrowed.status,
                narrowed.order_id,
                narrowed.carrier,
                narrowed.tracking_number,
                after,
                shipments_max,
            )
        return [shipment_view(row) for row in rows]

    async def detail(self, shipment_id: uuid.UUID) -> ShipmentDetailView:
        """One shipment with lines, timeline and tracking, or ``NotFound``."""
        row = await self._row(shipment_id)
        with database_failures():
            lines = await self._pool.fetch(SQL["read_lines"], shipment_id)
            events = await self._pool.fetch(SQL["read_events"], shipment_id)
            tracking = await self._pool.fetch(SQL["read_tracking"], shipment_id)
        return shipment_detail_view(row, lines, events, tracking)

    async def label_document(self, shipment_id: uuid.UUID) -> LabelDocument:
        """The label to print; ``NotFound`` (``label_not_found``) before there is one."""
        shipment = await find_shipment(self._pool, shipment_id)
        if shipment.carrier is None or shipment.label_url is None:
            raise NotFound("the shipment has no label yet", code="label_not_found")
        return await self._carriers.chosen(shipment.carrier).label_document(shipment.label_url)

    async def _advance(
        self, shipment_id: uuid.UUID, target: ShipmentStatus, actor: str
    ) -> ShipmentView:
        with database_failures():
            row = await self._pool.fetchrow(
                SQL["advance"], shipment_id, target, SHIPMENT.sources(target), actor
            )
        if row is None:
            row = await self._row(shipment_id)
        if row["status"] != target:
            raise InvalidState(f"a shipment that is {row['status']} cannot become {target}")
        return shipment_view(row)

    async def _row(self, shipment_id: uuid.UUID) -> asyncpg.Record:
        with database_failures():
            row = await self._pool.fetchrow(SQL["find"], shipment_id)
        if row is None:
            raise NotFound(code="shipment_not_found")
        return row
