"""Standard Webhooks signatures (standardwebhooks.com): HMAC-SHA256 over id, time and raw body."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from standardwebhooks import Webhook, WebhookVerificationError

from flashorder.kernel.errors import Unauthenticated

EVENT_ID_CHARACTERS_MAX = 200


def sign(secret: bytes, event_id: str, moment: datetime, body: bytes) -> dict[str, str]:
    """The three headers of one delivery; ``moment`` is timezone-aware UTC."""
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, moment, body.decode()),
    }


def verified_event_id(secret: bytes, headers: Mapping[str, str], body: bytes) -> str:
    """The event id, if the signature over ``body`` holds and its time is within five minutes.

    Raises ``Unauthenticated`` (``signature_invalid``) for anything else: which part was wrong is
    nobody's business.
    """
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    presented = {name: headers.get(name, "") for name in names}
    event_id = presented["webhook-id"]
    try:
        Webhook(secret).verify(body, presented, json_parse=False)
        if len(event_id) > EVENT_ID_CHARACTERS_MAX or not event_id.isprintable():
            raise WebhookVerificationError("no acceptable event id")
    except (WebhookVerificationError, ValueError):  # ValueError: base64, UTF-8, a missing comma
        raise Unauthenticated("the signature does not hold", code="signature_invalid") from None
    return event_id
