"""The HTTP face of payments: translate only."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from flashorder.infra.http.endpoint import ANY_ROLE, Call, Endpoint, Reply, Role
from flashorder.infra.http.pagination import page_reply, read_cursor
from flashorder.kernel.money import Money
from flashorder.payments.model import PaymentStatus
from flashorder.payments.service import PaymentService
from flashorder.payments.views import (
    OperatorPaymentDetails,
    OperatorPaymentPage,
    OperatorPaymentView,
    PaymentList,
    PaymentQuery,
    PaymentStart,
    PaymentStarted,
    RefundStart,
    RefundView,
    WebhookReceived,
    buyer_view,
    operator_details,
    operator_view,
    refund_view,
)

TAG = "payments"
_OPERATORS = frozenset({Role.OPERATOR})
_START = (
    "The answer's `action` is what the buyer has to do next: open `action.url`. At the provider "
    "`simulator` a program decides in the buyer's place: `POST {action.url}/decision` with "
    '`{"decision": "approve"}` or `{"decision": "decline"}`, without a bearer token. What becomes '
    "of the payment is told by the provider: read the order or its payments until it has moved on."
)


def endpoints(service: PaymentService) -> list[Endpoint]:
    """The calls of this room."""
    calls = _Calls(service)
    order, payment = "/v1/orders/{order_id}/payments", "/v1/admin/payments/{payment_id}"
    missing = {404: ("payment_not_found",)}
    guarded: dict[int, tuple[str, ...]] = {
        **missing,
        409: ("invalid_state",),
        503: ("provider_unavailable",),
    }
    operators: dict[str, Any] = {"tag": TAG, "roles": _OPERATORS}
    return [
        Endpoint(
            "POST",
            order,
            calls.start,
            "Begin to pay one's order, or go on with the attempt that is open",
            TAG,
            roles=ANY_ROLE,
            body=PaymentStart,
            replies={201: PaymentStarted},
            problems={
                404: ("order_not_found",),
                409: ("invalid_state", "too_many_attempts"),
                422: ("unknown_provider",),
                425: ("order_not_ready",),
                503: ("provider_unavailable",),
            },
            idempotent=True,
            description=_START,
        ),
        Endpoint(
            "GET",
            order,
            calls.of_order,
            "The attempts to pay one's order",
            TAG,
            roles=ANY_ROLE,
            replies={200: PaymentList},
            problems={404: ("order_not_found",), 425: ("order_not_ready",)},
        ),
        Endpoint(
            "POST",
            "/v1/webhooks/payments/{provider}",
            calls.webhook,
            "A provider tells what has become of a payment",
            "webhooks",
            replies={200: WebhookReceived},
            problems={401: ("signature_invalid",), 404: ("provider_not_found",)},
            raw_body=True,
            content_type="*/*",
            description="Signed the Standard Webhooks way; the signature is over the raw body.",
        ),
        Endpoint(
            "GET",
            "/v1/admin/payments",
            calls.page,
            "Payments, newest first",
            query=PaymentQuery,
            replies={200: OperatorPaymentPage},
            **operators,
        ),
        Endpoint(
            "GET",
            payment,
            calls.details,
            "A payment with its refunds",
            replies={200: OperatorPaymentDetails},
            problems=missing,
            **operators,
        ),
        Endpoint(
            "POST",
            f"{payment}/capture",
            calls.capture,
            "Take the money of an authorised payment",
            replies={200: OperatorPaymentView},
            problems=guarded,
            idempotent=True,
            **operators,
        ),
        Endpoint(
            "POST",
            f"{payment}/void",
            calls.void,
            "Give up a payment that was not captured",
            replies={200: OperatorPaymentView},
            problems=guarded,
            idempotent=True,
            **operators,
        ),
        Endpoint(
            "POST",
            f"{payment}/refunds",
            calls.refund,
            "Give money back",
            body=RefundStart,
            replies={201: RefundView},
            problems={**missing, 409: ("invalid_state", "refund_exceeds_capture")},
            idempotent=True,
            **operators,
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Calls:
    service: PaymentService

    async def start(self, call: Call) -> Reply:
        body: PaymentStart = call.body
        payment = await self.service.start(
            call.path_id("order_id"),
            call.caller.account_id,
            body.provider,
            method=body.method,
            return_url=body.return_url,
        )
        action = payment.action if payment.status is PaymentStatus.REQUIRES_ACTION else None
        return Reply(201, PaymentStarted(payment.payment_id, payment.status, action))

    async def of_order(self, call: Call) -> Reply:
        payments = await self.service.of_order(call.path_id("order_id"), call.caller.account_id)
        return Reply(200, PaymentList([buyer_view(each) for each in payments]))

    async def webhook(self, call: Call) -> Reply:
        outcome = await self.service.receive_webhook(
            call.path["provider"], call.request.headers, call.body
        )
        return Reply(200, WebhookReceived(outcome))

    async def page(self, call: Call) -> Reply:
        query: PaymentQuery = call.query
        after = read_cursor(query.cursor, (uuid.UUID,))
        payments = await self.service.page(
            order_id=query.order_id,
            status=query.status,
            provider=query.provider,
            refund_to_decide=query.refund == "refused",
            before=after[0] if after else None,
            limit=query.limit + 1,
        )
        return page_reply(
            call, payments, key=lambda payment: (payment.payment_id,), show=operator_view
        )

    async def details(self, call: Call) -> Reply:
        found = await self.service.details(call.path_id("payment_id"))
        return Reply(200, operator_details(found.payment, found.refunds))

    async def capture(self, call: Call) -> Reply:
        return Reply(200, operator_view(await self.service.capture(call.path_id("payment_id"))))

    async def void(self, call: Call) -> Reply:
        return Reply(200, operator_view(await self.service.void(call.path_id("payment_id"))))

    async def refund(self, call: Call) -> Reply:
        body: RefundStart = call.body
        wanted = body.amount
        refund = await self.service.refund(
            call.path_id("payment_id"),
            amount=None if wanted is None else Money(wanted.amount, wanted.currency),
            reason=body.reason,
            # A repeat of this very call is the same refund, whatever became of its first answer.
            request_key=f"call:{call.caller.account_id}:{call.idempotency_key}",
            requested_by=call.caller.account_id,
        )
        return Reply(201, refund_view(refund))
