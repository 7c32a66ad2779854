"""What a sale looks like at the front, and the scripts that open, change and read it there."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum

from redis.asyncio import Redis

from flashorder.sales.model import SaleStatus


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
    """A sale as the front holds it, all of its shards added up."""

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


class TopUpOutcome(StrEnum):
    """What became of a top-up at the front; each is final but SALE_MISSING."""

    APPLIED = "applied"
    ALREADY_APPLIED = "already_applied"
    BELOW_ZERO = "below_zero"
    SALE_MISSING = "sale_missing"
    STALE_GENERATION = "stale_generation"


@dataclass(frozen=True, slots=True)
class ShardSnapshot:
    """Stock of one shard with the last id of its intents stream, in one read."""

    shard: int
    generation: int
    last_intent: tuple[int, int]
    stock: dict[str, int]
    sold: dict[str, int]


class SaleFront:
    """The Redis side of sales. Every method raises ``StoreUnavailable`` when the store is away."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis = redis
        self._shards = shards

    async def open(self, sale: FrontSale) -> OpenOutcome:
        """Write the sale with its whole stock, once a generation.

        Call it only while PostgreSQL says that this generation never reached the front
        (``synced_revision = 0``): a store that lost its data must not be handed full stock again.
        """
        raise NotImplementedError

    async def change(self, sale: FrontSale) -> ChangeOutcome:
        """Bring status, window, limits and prices to ``sale.revision``; never touches stock."""
        raise NotImplementedError

    async def top_up(
        self, sale_id: uuid.UUID, generation: int, top_up_id: uuid.UUID, sku: str, quantity: int
    ) -> TopUpOutcome:
        """Add units (or take back unsold ones: negative) once by ``top_up_id``."""
        raise NotImplementedError

    async def read(self, sale_id: uuid.UUID) -> FrontSale | None:
        """The sale with ``remaining`` and ``sold`` of each item, or None."""
        raise NotImplementedError

    async def read_all(self) -> list[FrontSale]:
        """Every sale the front knows."""
        raise NotImplementedError

    async def snapshot(self, sale_id: uuid.UUID) -> list[ShardSnapshot]:
        """One consistent reading a shard; a shard that lacks the sale is left out."""
        raise NotImplementedError

    async def now_ms(self) -> int:
        """The store's clock, Unix ms."""
        raise NotImplementedError

    async def remove(self, sale_id: uuid.UUID) -> None:
        """Forget a settled sale: every key of it. Idempotent."""
        raise NotImplementedError
