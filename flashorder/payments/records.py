"""Rows of this room as values."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from flashorder.kernel.money import Money
from flashorder.payments.model import OPEN, PaymentStatus, RefundStatus
from flashorder.payments.providers.port import Action

Kind = TypeVar("Kind", "Payment", "Refund")


@dataclass(frozen=True, slots=True)
class Payment:
    """One attempt to pay one order."""

    payment_id: uuid.UUID
    order_id: uuid.UUID
    buyer_id: uuid.UUID
    provider: str
    reference: str | None
    status: PaymentStatus
    amount: Money
    refunded_amount: int
    attempt: int
    keeps_order: bool
    method: str | None
    return_url: str | None
    action: Action | None
    failure_code: str | None
    close_requested_at: datetime | None
    captured_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def is_open(self) -> bool:
        """Whether it may still be taken further."""
        return self.status in OPEN

    @property
    def unrefunded(self) -> Money:
        """What was taken and is not on its way back."""
        return Money(self.amount.amount - self.refunded_amount, self.amount.currency)

    @classmethod
    def from_row(cls, row: Any) -> Payment:
        """From ``SELECT * FROM payments``."""
        action = None if row["action"] is None else Action(**row["action"])
        return _of_row(cls, row, status=PaymentStatus(row["status"]), action=action)


@dataclass(frozen=True, slots=True)
class Refund:
    """Money on its way back."""

    refund_id: uuid.UUID
    payment_id: uuid.UUID
    order_id: uuid.UUID
    status: RefundStatus
    amount: Money
    reason: str
    request_key: str
    requested_by: uuid.UUID | None
    attempt: int
    reference: str | None
    failure_code: str | None
    created_at: datetime

    @property
    def next_key(self) -> str:
        """The request key of the attempt after this one: ``due:units_gone``, ``…:2``, ``…:3``."""
        first = self.request_key
        if self.attempt > 1:
            first = first.removesuffix(f":{self.attempt}")
        return f"{first}:{self.attempt + 1}"

    @classmethod
    def from_row(cls, row: Any) -> Refund:
        """From ``SELECT * FROM refunds``."""
        return _of_row(cls, row, status=RefundStatus(row["status"]))


@dataclass(frozen=True, slots=True)
class PayableOrder:
    """What a payment needs to know of its order."""

    order_id: uuid.UUID
    buyer_id: uuid.UUID
    status: str
    total: Money
    past_due: bool


def _of_row(kind: type[Kind], row: Any, **derived: Any) -> Kind:
    """Columns are named as the fields are; what both tables keep otherwise is derived here."""
    derived |= {
        "amount": Money(row["amount"], row["currency"]),
        "reference": row["provider_reference"],
    }
    plain = [each.name for each in fields(kind) if each.name not in derived]
    return kind(**{name: row[name] for name in plain}, **derived)
