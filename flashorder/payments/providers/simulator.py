"""The adapter of the payment simulator (``flashorder.payments.simulator`` has its protocol)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import aiohttp
import msgspec

from flashorder.infra.http.bodies import UNREADABLE
from flashorder.kernel.errors import MalformedRequest, ProviderUnavailable
from flashorder.kernel.identifiers import parse_id
from flashorder.kernel.money import AMOUNT_MAX, Money
from flashorder.payments.model import PaymentStatus, RefundStatus
from flashorder.payments.providers.port import (
    Action,
    OtherReport,
    PaymentReport,
    PaymentRequest,
    ProviderEvent,
    RefundReport,
    RefundRequest,
    Report,
)
from flashorder.payments.signatures import verified_event_id

_ANSWER_BYTES_MAX = 64 * 1024
_RETRY_AFTER_SECONDS = 2.0
# It becomes a part of a path, and is kept.
Reference = Annotated[str, msgspec.Meta(max_length=200, pattern="^[A-Za-z0-9_-]+$")]
FailureCode = Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
Amount = Annotated[int, msgspec.Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
SimulatorStatus = Literal["requires_action", "authorized", "captured", "declined", "voided"]
_PAYMENT_STATUS: dict[SimulatorStatus, PaymentStatus] = {
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "authorized": PaymentStatus.AUTHORIZED,
    "captured": PaymentStatus.CAPTURED,
    "declined": PaymentStatus.FAILED,
    "voided": PaymentStatus.VOIDED,
}


class _PaymentBody(msgspec.Struct):
    id: Reference
    merchant_reference: str
    status: SimulatorStatus
    amount: Amount
    currency: Currency
    action: Action | None = None
    failure_code: FailureCode | None = None


class _RefundBody(msgspec.Struct):
    id: Reference
    payment: Reference
    merchant_reference: str
    status: RefundStatus
    amount: Amount
    currency: Currency
    failure_code: FailureCode | None = None


class _EventBody(msgspec.Struct):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _ErrorBody(msgspec.Struct):
    code: FailureCode = "refused"


class SimulatorProvider:
    """Speaks to one simulator; ``session`` brings the time-out."""

    def __init__(
        self, session: aiohttp.ClientSession, *, url: str, api_key: str, webhook_secret: bytes
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._webhook_secret = webhook_secret

    @property
    def name(self) -> str:
        """``simulator``."""
        return "simulator"

    async def create(self, request: PaymentRequest) -> PaymentReport:
        """POST /v1/payments."""
        status, answer = await self._call(
            "POST",
            "/v1/payments",
            key=f"create:{request.payment_id}",
            body={
                "merchant_reference": str(request.payment_id),
                "capture_method": request.capture_method,
                "method": request.method,
                "return_url": request.return_url,
                **request.amount.as_json(),
            },
        )
        if status >= 400:
            return PaymentReport(
                reference=None,
                payment_id=request.payment_id,
                status=PaymentStatus.FAILED,
                amount=request.amount,
                failure_code=_code(answer),
            )
        return _payment_report(_decoded(answer, _PaymentBody))

    async def capture(self, reference: str, payment_id: uuid.UUID) -> PaymentReport | None:
        """POST /v1/payments/{id}/capture; a refusal (409) still brings the present state."""
        return await self._act(reference, "capture", payment_id)

    async def void(self, reference: str, payment_id: uuid.UUID) -> PaymentReport | None:
        """POST /v1/payments/{id}/void; a refusal (409) still brings the present state."""
        return await self._act(reference, "void", payment_id)

    async def query(self, reference: str) -> PaymentReport | None:
        """GET /v1/payments/{id}."""
        status, answer = await self._call("GET", f"/v1/payments/{reference}")
        if status == 404:
            return None
        if status >= 400:
            raise _away(f"the simulator refused a query: {_code(answer)}")
        return _payment_report(_decoded(answer, _PaymentBody))

    async def refund(self, request: RefundRequest) -> RefundReport:
        """POST /v1/refunds."""
        status, answer = await self._call(
            "POST",
            "/v1/refunds",
            key=f"refund:{request.refund_id}",
            body={
                "payment": request.payment_reference,
                "merchant_reference": str(request.refund_id),
                "reason": request.reason,
                **request.amount.as_json(),
            },
        )
        if status >= 400:
            return RefundReport(
                reference=None,
                refund_id=request.refund_id,
                payment_reference=request.payment_reference,
                status=RefundStatus.FAILED,
                amount=request.amount,
                failure_code=_code(answer),
            )
        return _refund_report(_decoded(answer, _RefundBody))

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """A Standard Webhooks delivery."""
        event_id = verified_event_id(self._webhook_secret, headers, body)
        try:
            return ProviderEvent(event_id, _event_report(body))
        except UNREADABLE as error:
            raise MalformedRequest(f"the event cannot be read: {error}") from None

    async def _act(self, reference: str, verb: str, payment_id: uuid.UUID) -> PaymentReport | None:
        path = f"/v1/payments/{reference}/{verb}"
        status, answer = await self._call("POST", path, key=f"{verb}:{payment_id}", body={})
        if status < 400:
            return _payment_report(_decoded(answer, _PaymentBody))
        return await self.query(reference)

    async def _call(
        self, method: str, path: str, *, key: str | None = None, body: Any = None
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._api_key}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(
                method, self._url + path, headers=headers, data=data, allow_redirects=False
            ) as answer:
                content = await answer.content.read(_ANSWER_BYTES_MAX)
                while not answer.content.at_eof() and len(content) < _ANSWER_BYTES_MAX:
                    content += await answer.content.read(_ANSWER_BYTES_MAX - len(content))
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _away(f"the payment simulator did not answer: {type(error).__name__}") from error
        if status >= 500 or status in {401, 403, 408, 425, 429}:
            raise _away(f"the payment simulator answered {status}")
        return status, content


def _away(detail: str) -> ProviderUnavailable:
    return ProviderUnavailable(detail, retry_after_seconds=_RETRY_AFTER_SECONDS)


def _decoded(answer: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(answer, type=kind)
    except UNREADABLE as error:
        raise _away(f"the payment simulator's answer cannot be read: {error}") from error


def _code(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_ErrorBody).code
    except UNREADABLE:
        return "refused"


def _event_report(body: bytes) -> Report:
    event = msgspec.json.decode(body, type=_EventBody)
    if event.type.startswith("payment."):
        return _payment_report(msgspec.json.decode(event.data, type=_PaymentBody))
    if event.type.startswith("refund."):
        return _refund_report(msgspec.json.decode(event.data, type=_RefundBody))
    return OtherReport(event.type)


def _payment_report(body: _PaymentBody) -> PaymentReport:
    return PaymentReport(
        reference=body.id,
        payment_id=parse_id(body.merchant_reference),
        status=_PAYMENT_STATUS[body.status],
        amount=Money(body.amount, body.currency),
        action=body.action,
        failure_code=body.failure_code,
    )


def _refund_report(body: _RefundBody) -> RefundReport:
    return RefundReport(
        reference=body.id,
        refund_id=parse_id(body.merchant_reference),
        payment_reference=body.payment,
        status=body.status,
        amount=Money(body.amount, body.currency),
        failure_code=body.failure_code,
    )
