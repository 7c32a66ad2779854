"""The scripts that begin a life of a server, and those that end its sales, for one shard."""

from __future__ import annotations

import uuid

from redis.asyncio import Redis

from flashorder.fencing.model import Begun, Fenced, GivenUp, Marked
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.lives import Life, Told, check_life
from flashorder.infra.redis.scripts import load_script
from flashorder.inventory.reconciliation.stream import GROUP

BEGIN_CODES = {1: Begun.BEGUN, 2: Begun.ALREADY, 3: Begun.BEHIND, 4: Begun.MOVED}
FENCE_CODES = {
    1: Fenced.FENCED,
    2: Fenced.ALREADY,
    3: Fenced.SALE_MISSING,
    4: Fenced.MOVED,
    5: Fenced.GIVEN_UP,
}
MARK_CODES = {1: Marked.MARKED, 2: Marked.MOVED}
GIVE_UP_CODES = {1: GivenUp.GIVEN_UP, 2: GivenUp.ALREADY, 3: GivenUp.MOVED}


class Lives:
    """What is said to the server behind ``redis`` of ``shard``; ``StoreUnavailable``.

    Each step is bound to the server that was looked at, and may be made again.
    """

    def __init__(self, redis: Redis, shard: int) -> None:
        self._redis = redis
        self._shard = shard
        self._keys = (keys.life(shard), keys.intents(shard))
        self._begin = load_script("begin_life")
        self._fence = load_script("fence_sale")
        self._give_up = load_script("give_up")
        self._mark = load_script("mark")

    async def check(self, told: Told) -> Life:
        """How its data stands to what was told."""
        with store_failures():
            return await check_life(
                lambda script, names, arguments: script(self._redis, names, arguments),
                self._shard,
                told,
            )

    async def begin(self, identity: bytes, applied: bytes) -> Begun:
        """Write down that nothing is missing, if nothing below the id ``applied`` is."""
        with store_failures():
            code = await self._begin(self._redis, self._keys, (identity, applied))
        return BEGIN_CODES[code]

    async def sales(self) -> list[uuid.UUID]:
        """The sales that the shard knows."""
        with store_failures():
            known = await self._redis.smembers(keys.sales(self._shard))
        texts = (each.decode() if isinstance(each, bytes) else each for each in known)
        return sorted(uuid.UUID(text) for text in texts)

    async def fence(self, identity: bytes, sale_id: uuid.UUID) -> Fenced:
        """Close a sale in its generation."""
        names = (self._keys[0], keys.sale_keys(self._shard, sale_id).sale)
        with store_failures():
            code = await self._fence(self._redis, names, (identity,))
        return FENCE_CODES[code]

    async def give_up(self, identity: bytes, known: bytes) -> GivenUp:
        """Go on without what is missing, above the id ``known``."""
        with store_failures():
            code = await self._give_up(self._redis, self._keys, (identity, known, GROUP))
        return GIVE_UP_CODES[code]

    async def mark(self, identity: bytes) -> tuple[Marked, bytes]:
        """Raise the stream's last id; which it is now."""
        with store_failures():
            code, marked = await self._mark(self._redis, self._keys[1:], (identity, GROUP))
        return MARK_CODES[code], marked
