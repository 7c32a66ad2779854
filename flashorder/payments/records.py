"""Rows of this room as values."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flashorder.kernel.money import Money
from flashorder.payments.model import OPEN, PaymentStatus, RefundStatus
from flashorder.payments.providers.port import Action


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
        return cls(
            payment_id=row["payment_id"],
            order_id=row["order_id"],
            buyer_id=row["buyer_id"],
            provider=row["provider"],
            reference=row["provider_reference"],
            status=PaymentStatus(row["status"]),
            amount=Money(row["amount"], row["currency"]),
            refunded_amount=row["refunded_amount"],
            attempt=row["attempt"],
            keeps_order=row["keeps_order"],
            method=row["method"],
            return_url=row["return_url"],
            action=None if row["action"] is None else Action(**row["action"]),
            failure_code=row["failure_code"],
            close_requested_at=row["close_requested_at"],
            captured_at=row["captured_at"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            version=row["version"],
        )


@dataclass(frozen=True, slots=True)
class Refund:
    """Money on its way back."""

    refund_id: uuid.UUID
    payment_id: uuid.UUID
    order_id: uuid.UUID
    status: RefundStatus
    amount: Money
    reason: str
    reference: str | None
    failure_code: str | None
    created_at: datetime

    @classmethod
    def from_row(cls, row: Any) -> Refund:
        """From ``SELECT * FROM refunds``."""
        return cls(
            refund_id=row["refund_id"],
            payment_id=row["payment_id"],
            order_id=row["order_id"],
            status=RefundStatus(row["status"]),
            amount=Money(row["amount"], row["currency"]),
            reason=row["reason"],
            reference=row["provider_reference"],
            failure_code=row["failure_code"],
            created_at=row["created_at"],
        )


@dataclass(frozen=True, slots=True)
class PayableOrder:
    """What a payment needs to know of its order."""

    order_id: uuid.UUID
    buyer_id: uuid.UUID
    status: str
    total: Money
    past_due: bool
