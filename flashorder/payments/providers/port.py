"""What flashorder asks of a payment provider. Every adapter passes tests/payments/conformance.py.

Every call that changes something carries a key of ours that the provider remembers, so a call whose
answer was lost is made again as it was. ``ProviderUnavailable`` means exactly that: the outcome is
not known (time-out, connection lost, 5xx, 429), ask or repeat later. A definite refusal is a
report, not an exception.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Literal, Protocol

import msgspec

from flashorder.kernel.money import Money
from flashorder.payments.model import PaymentStatus, RefundStatus

CaptureMethod = Literal["automatic", "manual"]


class Action(msgspec.Struct, frozen=True):
    """What the buyer has to do: open ``url`` (type ``redirect``), which is of the web."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern="^[a-z_]+$")]
    url: Annotated[str, msgspec.Meta(max_length=2000, pattern=r"^https?://[^\x00-\x20\x7f]+$")]


class PaymentRequest(msgspec.Struct, frozen=True):
    """A payment to be authorised; ``payment_id`` is the idempotency key."""

    payment_id: uuid.UUID
    amount: Money
    capture_method: CaptureMethod = "automatic"
    method: str | None = None
    return_url: str | None = None


class RefundRequest(msgspec.Struct, frozen=True):
    """Money to be given back; ``refund_id`` is the idempotency key."""

    refund_id: uuid.UUID
    payment_id: uuid.UUID
    payment_reference: str
    amount: Money
    reason: str


class PaymentReport(msgspec.Struct, frozen=True, tag="payment"):
    """A payment as the provider has it; ``payment_id`` is ours, echoed, if the provider can.

    ``reference`` is None only where a payment was refused before it existed.
    """

    reference: str | None
    payment_id: uuid.UUID | None
    status: PaymentStatus
    amount: Money
    action: Action | None = None
    failure_code: str | None = None


class RefundReport(msgspec.Struct, frozen=True, tag="refund"):
    """A refund as the provider has it; ``refund_id`` is ours, echoed."""

    reference: str | None
    refund_id: uuid.UUID | None
    payment_reference: str | None
    status: RefundStatus
    amount: Money
    failure_code: str | None = None


class OtherReport(msgspec.Struct, frozen=True, tag="other"):
    """An event that concerns neither a payment nor a refund."""

    event_type: str


Report = PaymentReport | RefundReport | OtherReport


class ProviderEvent(msgspec.Struct, frozen=True):
    """A verified webhook; ``event_id`` is the provider's and tells a duplicate."""

    event_id: str
    report: Report


class PaymentProvider(Protocol):
    """One provider, behind one adapter. All methods may raise ``ProviderUnavailable``."""

    @property
    def name(self) -> str:
        """As in ``{"provider": …}`` and in the webhook's path."""
        ...

    async def create(self, request: PaymentRequest) -> PaymentReport:
        """Begin the payment, once a ``payment_id``; a repeat reports the present state."""
        ...

    async def capture(self, reference: str, payment_id: uuid.UUID) -> PaymentReport | None:
        """Take the money of an authorised payment; reports the state that holds afterwards.

        None if the provider has no such payment.
        """
        ...

    async def void(self, reference: str, payment_id: uuid.UUID) -> PaymentReport | None:
        """Give the payment up. If it was captured before, that is what the report says.

        None if the provider has no such payment.
        """
        ...

    async def query(self, reference: str) -> PaymentReport | None:
        """The present state; None if the provider has no such payment."""
        ...

    async def refund(self, request: RefundRequest) -> RefundReport:
        """Give money back, once a ``refund_id``; a repeat reports the present state."""
        ...

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """The event, if the signature over the raw ``body`` holds and its time is near.

        ``headers`` is case-insensitive. Raises ``Unauthenticated`` (``signature_invalid``); of a
        body that is signed but unreadable, ``MalformedRequest``.
        """
        ...
