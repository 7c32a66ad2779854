"""What the house asks of a carrier, in the house's words.

Every adapter passes the conformance suite in tests/fulfilment/conformance.py. An adapter raises
``ProviderUnavailable`` when the carrier did not answer in time or answered with a failure of its
own (the outcome is then unknown, and the same call may be made again), and ``CarrierRefused`` when
the carrier understood and said no.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from flashorder.fulfilment.model import Parcel, TrackingEvent
from flashorder.kernel.errors import Conflict

DOCUMENT_BYTES_MAX = 2 * 1024 * 1024
LABEL_TYPE = "application/pdf"
"""What a label is: it is served under our own address, where no page of somebody else's may be."""


class CarrierRefused(Conflict):
    """The carrier does not take this shipment."""

    default_code: ClassVar[str] = "carrier_refused"


@dataclass(frozen=True, slots=True)
class Consignment:
    """What a label is asked for. ``shipment_id`` is its key: one shipment, one label."""

    shipment_id: uuid.UUID
    parcels: Sequence[Parcel]
    ship_to: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A label that the carrier made; ``reference`` is the carrier's own name of it."""

    reference: str
    tracking_number: str
    url: str


@dataclass(frozen=True, slots=True)
class LabelDocument:
    """The label as it is printed."""

    content_type: str
    content: bytes


class LabelCancellation(StrEnum):
    """What became of taking a label back."""

    CANCELLED = "cancelled"
    """It is void, now or since before."""
    UNKNOWN = "unknown"
    """The carrier never made one under this key."""
    TOO_LATE = "too_late"
    """The parcel is on its way already."""


class Carrier(Protocol):
    """One carrier."""

    @property
    def name(self) -> str:
        """The name in paths and columns ("simulator")."""
        ...

    async def create_label(self, consignment: Consignment) -> Label:
        """The label of this shipment: made now, or the one made before under the same key.

        Raises ``CarrierRefused`` also when the label of this key has been cancelled.
        """
        ...

    async def cancel_label(self, shipment_id: uuid.UUID) -> LabelCancellation:
        """Take the label of this shipment back; safe to repeat."""
        ...

    async def label_document(self, label_url: str) -> LabelDocument:
        """The document at ``label_url``, at most ``DOCUMENT_BYTES_MAX``."""
        ...

    async def tracking(self, tracking_number: str) -> list[TrackingEvent]:
        """Everything the carrier has said of this parcel, oldest first, with the ids of its
        webhooks; empty when it does not know the number."""
        ...

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> TrackingEvent:
        """The event of a webhook whose signature over the raw ``body`` holds.

        Raises ``Unauthenticated`` (``signature_invalid``) for one that the carrier did not sign,
        and ``MalformedRequest`` for one that it signed and that cannot be read.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; idempotent."""
        ...
