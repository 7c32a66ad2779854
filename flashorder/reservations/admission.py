"""No new purchases while the store's memory is nearly full.

When PostgreSQL is away the stream grows; it is bounded by refusing purchases above a share of the
store's ``maxmemory``, so that what was accepted, and its release, always finds room.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from redis.asyncio import Redis

from flashorder.infra.redis.connection import RETRY_AFTER_SECONDS, store_failures
from flashorder.kernel.errors import Overloaded, StoreUnavailable
from flashorder.reservations.metrics import ReserveMetrics

log = structlog.get_logger(__name__)
POLL_SECONDS = 0.5


class Admission:
    """Watches the store's memory; ``check`` costs nothing between two looks."""

    def __init__(self, redis: Redis, *, memory_share_max: float, metrics: ReserveMetrics) -> None:
        self._redis = redis
        self._memory_share_max = memory_share_max
        self._metrics = metrics
        self.full = False
        """Whether ``check`` raises."""

    def check(self) -> None:
        """Raise ``Overloaded`` while the store is nearly full."""
        if self.full:
            self._metrics.refused.labels("memory").inc()
            raise Overloaded(
                "orders are carried on more slowly than they come in; try again",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )

    async def run(self, stopping: asyncio.Event) -> None:
        """Look at the store's memory until ``stopping`` is set."""
        while not stopping.is_set():
            try:
                await self.look()
            except StoreUnavailable:
                pass  # the batcher tells the buyers
            except Exception as error:  # an answer that cannot be read must not end the watch
                log.warning("store_memory_unreadable", error=repr(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), POLL_SECONDS)

    async def look(self) -> None:
        """One look; a store without ``maxmemory`` has no bound to keep (``doctor`` warns)."""
        with store_failures():
            memory = await self._redis.info("memory")
        used_bytes, bytes_max = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
        full = bytes_max > 0 and used_bytes > bytes_max * self._memory_share_max
        if full != self.full:
            log.warning("admission_changed", full=full, used_bytes=used_bytes, bytes_max=bytes_max)
        self.full = full
