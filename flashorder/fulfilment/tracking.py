"""What carriers say: kept first, once by event id, then applied to the shipment if there is one.

Webhooks, answers of the carrier and what came too early all go the same way, so the order in which
they come, and how often, makes no difference to where the shipment ends.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg
import structlog

from flashorder.fulfilment.carriers.port import CarrierRefused
from flashorder.fulfilment.carriers.registry import Carriers
from flashorder.fulfilment.model import (
    SHIPMENT,
    ShipmentStatus,
    TrackingEvent,
    TrackingStatus,
    furthest,
)
from flashorder.fulfilment.rounds import call_each
from flashorder.fulfilment.store import SQL, as_columns
from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import Connection, Pool, database_failures, transaction
from flashorder.kernel.clock import utc_now
from flashorder.kernel.errors import NotFound
from flashorder.kernel.events import Event, Topic
from flashorder.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known of a parcel; ``exception`` is the newest trouble told."""

    status: TrackingStatus | None
    exception_at: datetime | None
    exception_detail: str | None

    def after(self, event: TrackingEvent) -> Whereabouts:
        """The same after ``event`` was heard."""
        if event.status is not TrackingStatus.EXCEPTION:
            return replace(self, status=furthest(self.status, event.status))
        if self.exception_at is not None and event.occurred_at <= self.exception_at:
            return self
        return replace(self, exception_at=event.occurred_at, exception_detail=event.detail or "")


class TrackingDesk:
    """Listens to carriers, and asks those that have fallen silent."""

    def __init__(self, pool: Pool, carriers: Carriers, settings: Settings) -> None:
        self._pool = pool
        self._carriers = carriers
        self._silence_seconds = settings.tracking_silence_seconds
        self._retention_seconds = float(settings.carrier_webhook_retention_seconds)

    async def receive(self, carrier_name: str, headers: Mapping[str, str], body: bytes) -> None:
        """A webhook; a duplicate changes nothing, one without a shipment yet is kept.

        Raises ``NotFound`` for a carrier that there is not, ``Unauthenticated`` for a forgery and
        ``MalformedRequest``; then nothing is stored.
        """
        event = self._carriers.addressed(carrier_name).verify_webhook(headers, body)
        await self._keep(carrier_name, [event])
        await self._apply(carrier_name, event.tracking_number)

    async def deliver(self, shipment_id: uuid.UUID, actor: str) -> None:
        """shipped → delivered on the word of ``actor``, where no carrier tells of the parcel.

        The word is kept like a carrier's, once a shipment; said again, it changes nothing. Raises
        ``NotFound`` and ``InvalidState``.
        """
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(SQL["lock"], shipment_id)
            if row is None:
                raise NotFound(code="shipment_not_found")
            present = ShipmentStatus(row["status"])
            if present is ShipmentStatus.DELIVERED:
                return
            SHIPMENT.check(present, ShipmentStatus.DELIVERED)
            word = TrackingEvent(
                f"word:{shipment_id}",
                row["tracking_number"],
                TrackingStatus.DELIVERED,
                utc_now(),
                "said by hand",
            )
            await _record(connection, row["carrier"], shipment_id, [word])
            await self._hear(connection, row, [word], actor)

    async def apply_kept(self, parcels_max: int) -> int:
        """Apply what was kept for parcels whose shipment is known by now; returns how many."""
        with database_failures():
            rows = await self._pool.fetch(SQL["kept_numbers"], parcels_max)
        for row in rows:
            await self._apply(row["carrier"], row["tracking_number"])
        return len(rows)

    async def ask_silent(self, parcels_max: int) -> int:
        """Ask carriers about parcels not heard of for long; returns how many answers had news."""
        with database_failures():
            rows = await self._pool.fetch(SQL["claim_silent"], self._silence_seconds, parcels_max)
        return await call_each(rows, lambda row: str(row["carrier"]), self._ask)

    async def forget_old(self, webhooks_max: int) -> int:
        """Delete kept webhooks beyond their retention; returns how many."""
        with database_failures():
            status = await self._pool.execute(
                SQL["forget_webhooks"], self._retention_seconds, webhooks_max
            )
        return int(status.split()[-1])

    async def _ask(self, claim: asyncpg.Record) -> bool:
        carrier_name, tracking_number = claim["carrier"], claim["tracking_number"]
        carrier = self._carriers.get(carrier_name)
        if carrier is None:
            log.error("carrier_no_longer_known", carrier=carrier_name)
            return False
        try:
            events = await carrier.tracking(tracking_number)
        except CarrierRefused as failure:
            log.info("carrier_did_not_tell", carrier=carrier_name, reason=failure.detail)
            return False
        if not await self._keep(carrier_name, events):
            return False
        await self._apply(carrier_name, tracking_number)
        return True

    async def _keep(self, carrier_name: str, events: list[TrackingEvent]) -> int:
        with database_failures():
            rows = await self._pool.fetch(SQL["keep_webhooks"], carrier_name, *as_columns(events))
        return len(rows)

    async def _apply(self, carrier_name: str, tracking_number: str) -> None:
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(SQL["lock_tracked"], carrier_name, tracking_number)
            if row is None:
                return
            taken = await connection.fetch(SQL["take_kept"], carrier_name, tracking_number)
            if not taken or row["status"] == ShipmentStatus.CANCELLED:
                return
            events = [_event_of(each) for each in taken]
            await _record(connection, carrier_name, row["shipment_id"], events)
            await self._hear(connection, row, events, "carrier")

    async def _hear(
        self,
        connection: Connection,
        row: asyncpg.Record,
        events: Sequence[TrackingEvent],
        actor: str,
    ) -> None:
        told = row["tracking_status"]
        before = Whereabouts(
            None if told is None else TrackingStatus(told),
            row["exception_at"],
            row["exception_detail"],
        )
        now = before
        for event in events:
            now = now.after(event)
        if now == before:
            return
        present = ShipmentStatus(row["status"])
        arrives = now.status is TrackingStatus.DELIVERED and present is ShipmentStatus.SHIPPED
        target = ShipmentStatus.DELIVERED if arrives else present
        moved = await connection.fetchrow(
            SQL["heard"],
            row["shipment_id"],
            now.status,
            target,
            SHIPMENT.sources(target) if arrives else [present],
            now.exception_at,
            now.exception_detail,
            self._silence_seconds,
            "delivered" if arrives else "tracked",
            actor,
        )
        assert moved is not None, "the row is locked, so nobody can have moved it"
        if arrives:
            await publish(connection, [_delivered_event(row["order_id"], moved)])


async def _record(
    connection: Connection,
    carrier_name: str,
    shipment_id: uuid.UUID,
    events: list[TrackingEvent],
) -> None:
    ids, _numbers, *rest = as_columns(events)
    await connection.execute(SQL["add_tracking_events"], carrier_name, shipment_id, ids, *rest)


def _event_of(row: asyncpg.Record) -> TrackingEvent:
    return TrackingEvent(
        row["event_id"],
        row["tracking_number"],
        TrackingStatus(row["tracking_status"]),
        row["occurred_at"],
        row["detail"],
        row["location"],
    )


def _delivered_event(order_id: uuid.UUID, row: asyncpg.Record) -> Event:
    payload = {
        "order_id": str(order_id),
        "shipment_id": str(row["shipment_id"]),
        "carrier": row["carrier"],
        "tracking_number": row["tracking_number"],
    }
    return Event(Topic.SHIPMENT_DELIVERED, order_id, payload)
