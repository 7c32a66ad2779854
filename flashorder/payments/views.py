"""What goes over the wire: bodies, and records as callers see them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

import msgspec

from flashorder.infra.http.endpoint import MoneyBody
from flashorder.infra.http.pagination import PageQuery
from flashorder.kernel.clock import rfc3339
from flashorder.kernel.money import AMOUNT_MAX
from flashorder.payments.model import PaymentStatus, RefundStatus
from flashorder.payments.providers.port import Action
from flashorder.payments.records import Payment, Refund

_NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
ProviderName = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=_NO_CONTROL)]


class PaymentStart(msgspec.Struct, forbid_unknown_fields=True):
    """How the buyer wants to pay; amount and currency are those of the order."""

    provider: Annotated[
        ProviderName,
        msgspec.Meta(
            description="Name of a payment provider of this deployment; it ships with `simulator`. "
            "The refusal of an unknown one names those there are.",
            examples=["simulator"],
        ),
    ]
    method: (
        Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=_NO_CONTROL)] | None
    ) = None
    return_url: (
        Annotated[str, msgspec.Meta(max_length=2000, pattern=r"^https?://[^\x00-\x20\x7f]+$")]
        | None
    ) = None


class PaymentStarted(msgspec.Struct):
    """``action`` is what the buyer has to do next, if anything."""

    payment_id: uuid.UUID
    status: PaymentStatus
    action: Action | None


class PaymentView(msgspec.Struct):
    """An attempt to pay, as its buyer sees it."""

    payment_id: uuid.UUID
    order_id: uuid.UUID
    provider: str
    status: PaymentStatus
    amount: MoneyBody
    refunded: MoneyBody
    attempt: int
    action: Action | None
    failure_code: str | None
    captured_at: str | None
    created_at: str
    updated_at: str
    version: int


class PaymentList(msgspec.Struct):
    """The attempts to pay one order, in order."""

    items: list[PaymentView]


class RefundView(msgspec.Struct):
    """Money on its way back."""

    refund_id: uuid.UUID
    payment_id: uuid.UUID
    order_id: uuid.UUID
    status: RefundStatus
    amount: MoneyBody
    reason: str
    failure_code: str | None
    created_at: str


class OperatorPaymentView(PaymentView):
    """And what operators need besides."""

    buyer_id: uuid.UUID
    provider_reference: str | None
    keeps_order: bool


class OperatorPaymentDetails(OperatorPaymentView):
    """And the refunds, oldest first."""

    refunds: list[RefundView]


class OperatorPaymentPage(msgspec.Struct):
    """A page, newest first."""

    items: list[OperatorPaymentView]
    next_cursor: str | None = None


class PaymentQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """Filters of the operators' list."""

    order_id: uuid.UUID | None = None
    status: PaymentStatus | None = None
    provider: ProviderName | None = None
    refund: Literal["refused"] | None = None
    """``refused``: a refund that is owed was refused to the last attempt, and needs a person."""


class RefundAmount(msgspec.Struct, forbid_unknown_fields=True):
    """Minor units, more than nothing."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MAX)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class RefundStart(msgspec.Struct, forbid_unknown_fields=True):
    """Without ``amount``: all that is left."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=_NO_CONTROL)]
    amount: RefundAmount | None = None


class WebhookReceived(msgspec.Struct):
    """``outcome``: changed, unchanged (a duplicate, or old news), unknown (kept for later), …"""

    outcome: str


def buyer_view(payment: Payment) -> PaymentView:
    """What the buyer sees."""
    return PaymentView(**_fields(payment))


def operator_view(payment: Payment) -> OperatorPaymentView:
    """What operators see."""
    return OperatorPaymentView(**_operator_fields(payment))


def operator_details(payment: Payment, refunds: list[Refund]) -> OperatorPaymentDetails:
    """What operators see of one payment."""
    views = [refund_view(refund) for refund in refunds]
    return OperatorPaymentDetails(**_operator_fields(payment), refunds=views)


def refund_view(refund: Refund) -> RefundView:
    """What operators see of a refund."""
    return RefundView(
        refund_id=refund.refund_id,
        payment_id=refund.payment_id,
        order_id=refund.order_id,
        status=refund.status,
        amount=MoneyBody(refund.amount.amount, refund.amount.currency),
        reason=refund.reason,
        failure_code=refund.failure_code,
        created_at=rfc3339(refund.created_at),
    )


def _operator_fields(payment: Payment) -> dict[str, Any]:
    return {
        **_fields(payment),
        "buyer_id": payment.buyer_id,
        "provider_reference": payment.reference,
        "keeps_order": payment.keeps_order,
    }


def _fields(payment: Payment) -> dict[str, Any]:
    currency = payment.amount.currency
    return {
        "payment_id": payment.payment_id,
        "order_id": payment.order_id,
        "provider": payment.provider,
        "status": payment.status,
        "amount": MoneyBody(payment.amount.amount, currency),
        "refunded": MoneyBody(payment.refunded_amount, currency),
        "attempt": payment.attempt,
        "action": payment.action if payment.status is PaymentStatus.REQUIRES_ACTION else None,
        "failure_code": payment.failure_code,
        "captured_at": None if payment.captured_at is None else rfc3339(payment.captured_at),
        "created_at": rfc3339(payment.created_at),
        "updated_at": rfc3339(payment.updated_at),
        "version": payment.version,
    }
