"""What other rooms may ask of the reservations of a sale."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from flashorder.infra.redis.lives import Told


class ReleaseOutcome(StrEnum):
    """What became of giving units back; every one of them is final."""

    RELEASED = "released"
    ALREADY_RELEASED = "already_released"
    SUPERSEDED = "superseded"
    """A newer hold stands on the order: the release was of an old one."""
    UNKNOWN_ORDER = "unknown_order"
    SALE_GONE = "sale_gone"


class ReclaimOutcome(StrEnum):
    """What became of taking the units of a released order again."""

    RECLAIMED = "reclaimed"
    ALREADY_RECLAIMED = "already_reclaimed"
    SOLD_OUT = "sold_out"
    LIMIT_REACHED = "limit_reached"
    STILL_HELD = "still_held"
    """The release before has not happened yet: try again after it."""
    UNKNOWN_ORDER = "unknown_order"
    SALE_GONE = "sale_gone"


@dataclass(frozen=True, slots=True)
class AcceptedPurchase:
    """An order between its 202 and its row in PostgreSQL, as the front remembers it."""

    order_id: uuid.UUID
    sale_id: uuid.UUID
    sku: str
    name: str
    quantity: int
    unit_price_amount: int
    currency: str
    accepted_ms: int
    due_ms: int


class Holds(Protocol):
    """Units given back and taken again; ``hold`` names which taking is meant (1 = the click).

    Every method raises ``StoreUnavailable`` when the store is away or its answer is lost; calling
    again with the same arguments is safe.
    """

    async def release(
        self, sale_id: uuid.UUID, order_id: uuid.UUID, buyer_id: uuid.UUID, hold: int
    ) -> ReleaseOutcome:
        """Give the units of ``hold`` back."""
        ...

    async def reclaim(
        self, sale_id: uuid.UUID, order_id: uuid.UUID, buyer_id: uuid.UUID, hold: int
    ) -> ReclaimOutcome:
        """Take the units again as ``hold`` (one more than the released one)."""
        ...


class AcceptedPurchases(Protocol):
    """Finds what was accepted but may not be in PostgreSQL yet."""

    async def find(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> AcceptedPurchase | None:
        """The purchase, if this buyer made it in a sale that the front still knows."""
        ...


class Fence(Protocol):
    """Stands between a store that may be behind and those who would buy from it."""

    async def settle(self, shard: int, told: Told) -> None:
        """Return once the data of the server that answers now is verified, or given up.

        Raises ``Unavailable`` while that cannot be known: when the store is away, or PostgreSQL.
        """
        ...
