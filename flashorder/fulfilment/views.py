"""Shipments as the warehouse reads them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from flashorder.fulfilment.model import Parcel, ShipmentStatus, TrackingStatus
from flashorder.kernel.clock import rfc3339


class ShipmentView(msgspec.Struct, kw_only=True):
    """A shipment in a list; times are RFC 3339 in UTC."""

    shipment_id: uuid.UUID
    order_id: uuid.UUID
    status: ShipmentStatus
    tracking_status: TrackingStatus | None
    exception_at: str | None
    exception_detail: str | None
    carrier: str | None
    parcels: list[Parcel]
    ship_to: dict[str, Any] | None
    tracking_number: str | None
    label_url: str | None
    cancel_reason: str | None
    picking_at: str | None
    packed_at: str | None
    shipped_at: str | None
    delivered_at: str | None
    cancelled_at: str | None
    created_at: str
    updated_at: str
    version: int


class ShipmentLineView(msgspec.Struct):
    """What to put into the box."""

    sku: str
    name: str | None
    quantity: int


class ShipmentEventView(msgspec.Struct):
    """One step, or a note beside it."""

    version: int
    type: str
    actor: str
    occurred_at: str
    data: dict[str, Any]


class TrackingEventView(msgspec.Struct):
    """What the carrier said, by its own clock."""

    event_id: str
    status: TrackingStatus
    occurred_at: str
    detail: str | None
    location: str | None


class ShipmentDetailView(ShipmentView, kw_only=True):
    """A shipment with everything that belongs to it."""

    lines: list[ShipmentLineView]
    events: list[ShipmentEventView]
    tracking: list[TrackingEventView]


class ShippedView(msgspec.Struct):
    """The answer to shipping."""

    shipment_id: uuid.UUID
    tracking_number: str
    label_url: str


_FIELDS = ShipmentView.__struct_fields__


def shipment_view(row: asyncpg.Record) -> ShipmentView:
    """A row of ``shipments``."""
    return msgspec.convert(_columns(row), ShipmentView)


def shipment_detail_view(
    row: asyncpg.Record,
    lines: Sequence[asyncpg.Record],
    events: Sequence[asyncpg.Record],
    tracking: Sequence[asyncpg.Record],
) -> ShipmentDetailView:
    """A row of ``shipments`` with the rows that belong to it."""
    parts = {
        "lines": [_plain(each) for each in lines],
        "events": [_plain(each) for each in events],
        "tracking": [_plain(each) for each in tracking],
    }
    return msgspec.convert(_columns(row) | parts, ShipmentDetailView)


def _columns(row: asyncpg.Record) -> dict[str, Any]:
    plain = _plain({name: row[name] for name in _FIELDS})
    return plain | {"parcels": plain["parcels"] or []}


def _plain(row: asyncpg.Record | dict[str, Any]) -> dict[str, Any]:
    return {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in row.items()
    }
