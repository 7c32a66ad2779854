"""The peers' script: how the Python ones call it, and the sale that all of them sell."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis

SOURCE = Path(__file__).with_name("reserve_one.lua")
KEYS = ("{bench}:sale", "{bench}:stock", "{bench}:buyers", "{bench}:tokens", "{bench}:intents")
CONNECTIONS_MAX = 128


class SaleScript:
    """One EVALSHA a purchase."""

    def __init__(self, redis: Redis, sha: str) -> None:
        self._redis = redis
        self._sha = sha

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str) -> AsyncIterator[Self]:
        """On a pool of its own, with the script known to the store."""
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS_MAX)
        async with Redis(connection_pool=pool) as redis:
            source = SOURCE.read_bytes()
            await redis.script_load(source.decode())
            yield cls(redis, hashlib.sha1(source, usedforsecurity=False).hexdigest())

    async def buy(self, token: str, buyer: str, sku: str, quantity: int) -> tuple[int, bytes]:
        """Code and order id."""
        code, detail = await self._redis.evalsha(
            self._sha, len(KEYS), *KEYS, token, buyer, sku, quantity
        )
        return code, detail


async def refill(redis: Any, sku: str, units: int) -> None:
    """An empty store with one open sale of ``units``; scripts stay known."""
    await redis.flushall()
    await redis.hset(KEYS[0], mapping={"status": "open", "price": 1999, "limit": 1_000_000_000})
    await redis.hset(KEYS[1], sku, units)
