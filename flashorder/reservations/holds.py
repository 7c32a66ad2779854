"""Giving units back and taking them again: lua/release.lua and lua/reclaim.lua."""

from __future__ import annotations

import uuid

from redis.asyncio import Redis

from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.keys import sale_keys
from flashorder.infra.redis.scripts import load_script
from flashorder.kernel.identifiers import shard_of
from flashorder.reservations.ports import ReclaimOutcome, ReleaseOutcome

RELEASE_CODES = {
    1: ReleaseOutcome.RELEASED,
    2: ReleaseOutcome.ALREADY_RELEASED,
    3: ReleaseOutcome.SUPERSEDED,
    4: ReleaseOutcome.UNKNOWN_ORDER,
    5: ReleaseOutcome.SALE_GONE,
}
RECLAIM_CODES = {
    1: ReclaimOutcome.RECLAIMED,
    2: ReclaimOutcome.ALREADY_RECLAIMED,
    3: ReclaimOutcome.STILL_HELD,
    4: ReclaimOutcome.UNKNOWN_ORDER,
    5: ReclaimOutcome.SALE_GONE,
    10: ReclaimOutcome.SOLD_OUT,
    11: ReclaimOutcome.LIMIT_REACHED,
}


class StoreHolds:
    """The port ``Holds`` over the store."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis = redis
        self._shards = shards
        self._release = load_script("release")
        self._reclaim = load_script("reclaim")

    async def release(
        self, sale_id: uuid.UUID, order_id: uuid.UUID, buyer_id: uuid.UUID, hold: int
    ) -> ReleaseOutcome:
        """See ``Holds.release``."""
        sale = sale_keys(shard_of(buyer_id.bytes, self._shards), sale_id)
        with store_failures():
            code = await self._release(
                self._redis,
                (sale.sale, sale.stock, sale.sold, sale.buyers, sale.tokens),
                (order_id.bytes[6:], order_id.bytes[:6], buyer_id.bytes, hold),
            )
        return RELEASE_CODES[code]

    async def reclaim(
        self, sale_id: uuid.UUID, order_id: uuid.UUID, buyer_id: uuid.UUID, hold: int
    ) -> ReclaimOutcome:
        """See ``Holds.reclaim``."""
        sale = sale_keys(shard_of(buyer_id.bytes, self._shards), sale_id)
        with store_failures():
            code = await self._reclaim(
                self._redis,
                (sale.sale, sale.items, sale.stock, sale.sold, sale.buyers, sale.tokens),
                (order_id.bytes[6:], order_id.bytes[:6], buyer_id.bytes, hold),
            )
        return RECLAIM_CODES[code]
