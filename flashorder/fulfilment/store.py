"""Shipments as their rows have them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from flashorder.fulfilment.carriers.port import Consignment, Label
from flashorder.fulfilment.model import Parcel, ShipmentStatus, TrackingEvent
from flashorder.infra.postgres.pool import Connection, Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.errors import NotFound

SQL = load_sql("flashorder.fulfilment")


@dataclass(frozen=True, slots=True)
class Shipment:
    """A row of ``shipments``, as far as decisions need it."""

    shipment_id: uuid.UUID
    order_id: uuid.UUID
    status: ShipmentStatus
    version: int
    carrier: str | None
    parcels: tuple[Parcel, ...]
    ship_to: dict[str, Any] | None
    tracking_number: str | None
    label_url: str | None
    label_attempts: int

    @property
    def consignment(self) -> Consignment:
        """What the carrier is asked for."""
        return Consignment(self.shipment_id, self.parcels, self.ship_to)

    @property
    def has_left(self) -> bool:
        """Whether the parcel is out of the house."""
        return self.status in (ShipmentStatus.SHIPPED, ShipmentStatus.DELIVERED)


def shipment_of(row: asyncpg.Record) -> Shipment:
    """The shipment in ``row``."""
    return Shipment(
        shipment_id=row["shipment_id"],
        order_id=row["order_id"],
        status=ShipmentStatus(row["status"]),
        version=row["version"],
        carrier=row["carrier"],
        parcels=tuple(msgspec.convert(row["parcels"] or [], list[Parcel])),
        ship_to=row["ship_to"],
        tracking_number=row["tracking_number"],
        label_url=row["label_url"],
        label_attempts=row["label_attempts"],
    )


async def find_shipment(pool: Pool, shipment_id: uuid.UUID) -> Shipment:
    """The shipment, or ``NotFound``."""
    with database_failures():
        row = await pool.fetchrow(SQL["find"], shipment_id)
    if row is None:
        raise NotFound(code="shipment_not_found")
    return shipment_of(row)


async def mark_shipped(
    connection: Connection,
    shipment: Shipment,
    label: Label,
    *,
    sources: list[str],
    actor: str,
    silence_seconds: float,
) -> bool:
    """packed → shipped with ``label``; False when the order or the shipment has moved on."""
    row = await connection.fetchrow(
        SQL["ship"],
        shipment.shipment_id,
        shipment.order_id,
        sources,
        shipment.carrier,
        label.tracking_number,
        label.reference,
        label.url,
        actor,
        silence_seconds,
    )
    return row is not None


def as_columns(events: list[TrackingEvent]) -> tuple[list[Any], ...]:
    """``events`` turned into columns for ``unnest``: id, number, status, time, detail, place."""
    return (
        [event.event_id for event in events],
        [event.tracking_number for event in events],
        [str(event.status) for event in events],
        [event.occurred_at for event in events],
        [event.detail for event in events],
        [event.location for event in events],
    )
