"""What callers send to the simulator."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from flashorder.kernel.money import AMOUNT_MAX

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class CreateBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/payments."""

    merchant_reference: Short
    amount: Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]
    currency: Currency
    capture_method: Literal["automatic", "manual"] = "automatic"
    method: Short | None = None
    return_url: Annotated[str, msgspec.Meta(max_length=2000, pattern="^https?://")] | None = None


class RefundBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/refunds."""

    payment: Short
    merchant_reference: Short
    amount: Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MAX)]
    currency: Currency
    reason: Short | None = None


class DecisionBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /pay/{id}/decision."""

    decision: Literal["approve", "decline"]
