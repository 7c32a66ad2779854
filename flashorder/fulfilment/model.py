"""The states of a shipment, and what carriers say of a parcel. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flashorder.kernel.machine import Machine


class ShipmentStatus(StrEnum):
    """pending → picking → packed → shipped → delivered; cancelled from any before shipped."""

    PENDING = "pending"
    PICKING = "picking"
    PACKED = "packed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


SHIPMENT = Machine(
    name="shipment",
    initial=ShipmentStatus.PENDING,
    transitions={
        ShipmentStatus.PENDING: frozenset({ShipmentStatus.PICKING, ShipmentStatus.CANCELLED}),
        ShipmentStatus.PICKING: frozenset({ShipmentStatus.PACKED, ShipmentStatus.CANCELLED}),
        ShipmentStatus.PACKED: frozenset({ShipmentStatus.SHIPPED, ShipmentStatus.CANCELLED}),
        ShipmentStatus.SHIPPED: frozenset({ShipmentStatus.DELIVERED}),
        ShipmentStatus.DELIVERED: frozenset(),
        ShipmentStatus.CANCELLED: frozenset(),
    },
)


class TrackingStatus(StrEnum):
    """How far the carrier says the parcel is, in the order in which it gets there."""

    LABEL_CREATED = "label_created"
    PICKED_UP = "picked_up"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    DELIVERED = "delivered"
    EXCEPTION = "exception"
    """Trouble on the way: told beside the progress, which stays where it was."""


PROGRESS = tuple(each for each in TrackingStatus if each is not TrackingStatus.EXCEPTION)
"""The statuses that a parcel goes through; the place in the tuple is the rank."""


def furthest(present: TrackingStatus | None, told: TrackingStatus) -> TrackingStatus | None:
    """``present`` after ``told`` was heard: it only ever moves forward, whatever the order."""
    if told is TrackingStatus.EXCEPTION:
        return present
    if present is None:
        return told
    return max(present, told, key=PROGRESS.index)


@dataclass(frozen=True, slots=True)
class Parcel:
    """One box; a length of 0 mm is one that nobody measured."""

    weight_grams: int
    length_mm: int = 0
    width_mm: int = 0
    height_mm: int = 0


@dataclass(frozen=True, slots=True)
class TrackingEvent:
    """One thing a carrier says of a parcel; ``event_id`` is the same however often it is told."""

    event_id: str
    tracking_number: str
    status: TrackingStatus
    occurred_at: datetime
    detail: str | None = None
    location: str | None = None
