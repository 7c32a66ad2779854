"""The simulated carrier of this project, over HTTP like any other."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from flashorder.fulfilment.carriers.port import (
    DOCUMENT_BYTES_MAX,
    LABEL_TYPE,
    CarrierRefused,
    Consignment,
    Label,
    LabelCancellation,
    LabelDocument,
)
from flashorder.fulfilment.model import TrackingEvent, TrackingStatus
from flashorder.infra.http.bodies import UNREADABLE
from flashorder.kernel.errors import MalformedRequest, ProviderUnavailable, Unauthenticated
from flashorder.settings import Settings

T = TypeVar("T")
# No control characters: PostgreSQL keeps no NUL in a text.
Text = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[^\x00-\x1f]+$")]
Words = Annotated[str, msgspec.Meta(max_length=1_000, pattern=r"^[^\x00]*$")]
# It is told to operators and kept.
Reason = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
RETRY_AFTER_SECONDS = 2.0
AWAY = frozenset({401, 403, 408, 425, 429})
"""Refusals that say nothing of the shipment: our key, the time, or the carrier's load."""


class _LabelAnswer(msgspec.Struct):
    label_id: Text
    tracking_number: Text
    label_url: Annotated[
        str, msgspec.Meta(max_length=2_000, pattern=r"^https?://[^\x00-\x20\x7f]+$")
    ]


class _EventAnswer(msgspec.Struct):
    event_id: Text
    tracking_number: Text
    status: TrackingStatus
    occurred_at_ms: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
    detail: Words | None = None
    location: Words | None = None

    def as_event(self) -> TrackingEvent:
        moment = datetime.fromtimestamp(self.occurred_at_ms / 1000, UTC)
        return TrackingEvent(
            self.event_id, self.tracking_number, self.status, moment, self.detail, self.location
        )


class _TrackingAnswer(msgspec.Struct):
    events: list[_EventAnswer]


class _WebhookBody(msgspec.Struct):
    data: _EventAnswer


class _FailureAnswer(msgspec.Struct):
    code: Reason = ""
    detail: Reason = ""


class SimulatedCarrier:
    """Adapter of ``Carrier``; its one session is opened by the first call."""

    name = "simulator"

    def __init__(
        self, base_url: str, *, api_key: str, webhook_key: bytes, timeout_seconds: float
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._webhook = Webhook(webhook_key)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session_or_none: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, settings: Settings) -> SimulatedCarrier:
        """The adapter as ``settings`` want it; keys are derived on both sides of the wire."""
        return cls(
            settings.carrier_simulator_url,
            api_key=settings.derived_key("api:carriers:simulator").hex(),
            webhook_key=settings.derived_key("webhooks:carriers:simulator"),
            timeout_seconds=settings.provider_timeout_seconds,
        )

    async def create_label(self, consignment: Consignment) -> Label:
        """``POST /v1/labels`` with the shipment id as idempotency key."""
        status, content = await self._call(
            "POST",
            "/v1/labels",
            headers={"Idempotency-Key": str(consignment.shipment_id)},
            body={
                "parcels": [asdict(parcel) for parcel in consignment.parcels],
                "ship_to": None if consignment.ship_to is None else dict(consignment.ship_to),
            },
        )
        if status not in (200, 201):
            raise _refusal(content)
        answer = _decoded(content, _LabelAnswer)
        return Label(answer.label_id, answer.tracking_number, answer.label_url)

    async def cancel_label(self, shipment_id: uuid.UUID) -> LabelCancellation:
        """``DELETE /v1/labels/{shipment id}``."""
        status, content = await self._call("DELETE", f"/v1/labels/{shipment_id}")
        match status:
            case 200:
                return LabelCancellation.CANCELLED
            case 404:
                return LabelCancellation.UNKNOWN
            case 409:
                return LabelCancellation.TOO_LATE
            case _:
                raise _refusal(content)

    async def label_document(self, label_url: str) -> LabelDocument:
        """The PDF; only from this carrier's own address."""
        if not label_url.startswith(f"{self._base_url}/"):
            raise CarrierRefused("the label is not at the carrier's address")
        try:
            async with self._session.get(
                # A redirect could lead anywhere, also to what only this machine can reach.
                label_url,
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                content = await _bounded(answer)
                if answer.status != 200:
                    raise ProviderUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
                if answer.content_type != LABEL_TYPE:
                    raise CarrierRefused(f"the label is no {LABEL_TYPE}")
                return LabelDocument(LABEL_TYPE, content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error

    async def tracking(self, tracking_number: str) -> list[TrackingEvent]:
        """``GET /v1/tracking/{number}``."""
        status, content = await self._call("GET", f"/v1/tracking/{quote(tracking_number, safe='')}")
        if status == 404:
            return []
        if status != 200:
            raise _refusal(content)
        return [event.as_event() for event in _decoded(content, _TrackingAnswer).events]

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> TrackingEvent:
        """Standard Webhooks: HMAC-SHA256 over id, timestamp and body, at most five minutes old."""
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            # ValueError: a signature without a comma or in broken base64, a body that is no UTF-8.
            raise Unauthenticated(
                "the webhook is not signed by the carrier", code="signature_invalid"
            ) from error
        try:
            return msgspec.json.decode(body, type=_WebhookBody).data.as_event()
        except UNREADABLE as error:
            raise MalformedRequest(f"the webhook cannot be read: {error}") from None

    async def close(self) -> None:
        """Close the session."""
        if self._session_or_none is not None:
            await self._session_or_none.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._session_or_none is None or self._session_or_none.closed:
            self._session_or_none = aiohttp.ClientSession()
        return self._session_or_none

    async def _call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> tuple[int, bytes]:
        """What the carrier decided, and content; everything else is ``ProviderUnavailable``."""
        try:
            async with self._session.request(
                method,
                self._base_url + path,
                headers={**self._headers, **(headers or {})},
                data=None if body is None else msgspec.json.encode(body),
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                content = await _bounded(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error
        if answer.status in AWAY or not (answer.status < 300 or 400 <= answer.status < 500):
            raise ProviderUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        return answer.status, content


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """The body, if it is no larger than a label may be."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > DOCUMENT_BYTES_MAX:
            raise ProviderUnavailable("the carrier's answer is too large")
    return bytes(content)


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except UNREADABLE as error:
        raise ProviderUnavailable("the carrier's answer cannot be read") from error


def _refusal(content: bytes) -> CarrierRefused:
    try:
        failure = msgspec.json.decode(content, type=_FailureAnswer)
    except UNREADABLE:
        failure = _FailureAnswer()
    return CarrierRefused(f"the carrier refused: {failure.detail or failure.code or 'no reason'}")
