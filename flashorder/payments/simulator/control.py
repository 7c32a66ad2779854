"""How the simulator is told to misbehave: ``PUT /control``."""

from __future__ import annotations

from typing import Annotated

import msgspec

Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The knobs; what a PUT leaves out goes back to its default.

    ``latency_ms``: every API call answers that much later. ``decline_rate``: share of approvals
    that the bank declines all the same. ``refuse_refund_rate``: share of refunds that are refused,
    for good: the same key is refused again. ``duplicate_webhooks``: extra copies of each webhook;
    true is one, 2.5 is two or three. ``drop_webhook_rate``: share of webhooks that are never sent.
    ``reorder_webhooks``: share of webhooks that are held back for up to half a second while later
    ones overtake them; true is all. ``delay_webhook_ms``: every webhook leaves that much later.
    """

    latency_ms: Annotated[int, msgspec.Meta(ge=0, le=120_000)] = 0
    decline_rate: Rate = 0.0
    refuse_refund_rate: Rate = 0.0
    duplicate_webhooks: bool | Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0
    drop_webhook_rate: Rate = 0.0
    reorder_webhooks: bool | Rate = 0.0
    delay_webhook_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 0
