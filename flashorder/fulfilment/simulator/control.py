"""How the simulated carrier is told to misbehave: ``PUT /control``."""

from __future__ import annotations

from typing import Annotated

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The knobs; what a PUT leaves out goes back to its default.

    ``latency_ms``: every call of a customer answers that much later. ``pace_ms``: the time from one
    step of a parcel to the next. ``fail_rate``: share of calls that answer 503, half of them after
    having done what was asked. ``exception_rate``: share of parcels that meet trouble on the way.
    ``duplicate_webhooks``: extra copies of each webhook; true is one, 2.5 is two or three.
    ``drop_webhook_rate``: share of webhooks that are never sent. ``reorder_webhooks``: share of
    webhooks that are held back until later ones have overtaken them; true is every second one.
    ``delay_webhook_ms``: every webhook leaves that much later.
    """

    latency_ms: Annotated[int, msgspec.Meta(ge=0, le=120_000)] = 0
    pace_ms: Milliseconds = 2_000
    fail_rate: Rate = 0.0
    exception_rate: Rate = 0.0
    duplicate_webhooks: bool | Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0
    drop_webhook_rate: Rate = 0.0
    reorder_webhooks: bool | Rate = 0.0
    delay_webhook_ms: Milliseconds = 0
