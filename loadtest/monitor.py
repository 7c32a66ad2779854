"""What both stores hold while a sale runs: a sample every so often, gaps where a store is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from flashorder.infra.redis.keys import sale_keys

INTERVAL_SECONDS = 0.1
TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """``at`` in seconds since the opening; None: that store did not answer."""

    at: float
    accepted_orders: int
    applied_orders: int | None
    units_in_stock: int | None


class Monitor:
    """Samples until it is cancelled; ``accepted`` counts what shoppers have been told."""

    def __init__(
        self, redis_url: str, database_url: str, sale_id: str, accepted: Callable[[], int]
    ) -> None:
        self.samples: list[Sample] = []
        self._redis_url = redis_url
        self._database_url = database_url
        self._sale = UUID(sale_id)
        self._accepted = accepted
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def run(self, opening: float) -> None:
        """``opening`` by time.monotonic()."""
        redis = Redis.from_url(self._redis_url, socket_timeout=TIMEOUT_SECONDS)
        try:
            while True:
                applied, stock = await asyncio.gather(self._applied(), self._stock(redis))
                at = time.monotonic() - opening
                self.samples.append(Sample(round(at, 3), self._accepted(), applied, stock))
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            await redis.aclose()
            if self._connection is not None:
                self._connection.terminate()

    async def _applied(self) -> int | None:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    self._database_url, timeout=TIMEOUT_SECONDS
                )
            count: int = await self._connection.fetchval(
                "SELECT count(*) FROM orders WHERE sale_id = $1",
                self._sale,
                timeout=TIMEOUT_SECONDS,
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        return count

    async def _stock(self, redis: Redis) -> int | None:
        try:
            stock = await redis.hgetall(sale_keys(0, self._sale).stock)
        except (OSError, RedisError):
            return None
        return sum(int(units) for units in stock.values())


def applied_lag_seconds(samples: list[Sample], accepted_at: list[float]) -> float | None:
    """From the last acceptance to the first sample that finds as many orders in PostgreSQL."""
    if not accepted_at:
        return None
    wanted, last = len(accepted_at), max(accepted_at)
    for sample in samples:
        if sample.applied_orders is not None and sample.applied_orders >= wanted:
            return round(max(0.0, sample.at - last), 2)
    return None
