"""A sale as the front holds it, and what becomes of telling the front something. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from flashorder.sales.model import SaleStatus

FENCED: Final = 0
"""In place of the generation of a sale that was fenced: the store that it stands in is behind what
was told, and it sells nothing until it is built anew (docs/adr/0016)."""


@dataclass(frozen=True, slots=True)
class FrontItem:
    """One SKU of a sale; amounts in minor units of the sale's currency.

    ``quantity`` is the units of the whole sale at opening; ``remaining`` and ``sold`` are None
    until the front has been asked.
    """

    sku: str
    name: str
    unit_price_amount: int
    list_price_amount: int
    per_buyer_limit: int
    quantity: int = 0
    remaining: int | None = None
    sold: int | None = None


@dataclass(frozen=True, slots=True)
class FrontSale:
    """A sale as the front holds it, all of its shards added up; the head is the first shard's."""

    sale_id: uuid.UUID
    title: str
    status: SaleStatus
    currency: str
    starts_at_ms: int
    ends_at_ms: int
    payment_window_seconds: int
    generation: int
    revision: int
    items: tuple[FrontItem, ...]
    sale_bytes: bytes = field(init=False, repr=False, compare=False)
    """The id once more, for the hot path: asking a UUID for its bytes costs a sum each time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sale_bytes", self.sale_id.bytes)


class OpenOutcome(StrEnum):
    """What became of opening a sale at the front."""

    OPENED = "opened"
    ALREADY_OPEN = "already_open"
    STALE_GENERATION = "stale_generation"


class ChangeOutcome(StrEnum):
    """What became of changing a sale at the front; SALE_MISSING: the store has lost it."""

    CHANGED = "changed"
    NOT_NEWER = "not_newer"
    SALE_MISSING = "sale_missing"
    STALE_GENERATION = "stale_generation"


class SealOutcome(StrEnum):
    """What became of ending the receipts of a sale."""

    SEALED = "sealed"
    SALE_MISSING = "sale_missing"
    NOT_CLOSED = "not_closed"


class RestoreOutcome(StrEnum):
    """What became of a chunk of purchases that was put back."""

    RESTORED = "restored"
    SALE_MISSING = "sale_missing"
    STALE_GENERATION = "stale_generation"
    SALE_IS_OPEN = "sale_is_open"


@dataclass(frozen=True, slots=True)
class RestoredPurchase:
    """One purchase that PostgreSQL knows; ``record`` as ``PurchaseRecord.pack`` makes it."""

    token: bytes
    record: bytes
    buyer_id: bytes
    sku: str
    quantity: int


class TopUpOutcome(StrEnum):
    """What became of a top-up at the front; each is final but SALE_MISSING."""

    APPLIED = "applied"
    ALREADY_APPLIED = "already_applied"
    BELOW_ZERO = "below_zero"
    SALE_MISSING = "sale_missing"
    STALE_GENERATION = "stale_generation"


@dataclass(frozen=True, slots=True)
class ShardSnapshot:
    """Stock of one shard with the last id of its intents stream, in one read.

    ``generation`` is ``FENCED`` where the shard's store is behind what was told.
    """

    shard: int
    generation: int
    last_intent: tuple[int, int]
    stock: dict[str, int]
    sold: dict[str, int]
