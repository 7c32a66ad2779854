"""A consumer that wakes when its entries are somebody else's: slept through, and claimed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from redis.asyncio import Redis
from redis.exceptions import RedisError

from flashorder.infra.redis import keys
from flashorder.inventory.reconciliation.stream import GROUP
from tests.faults.links import FAIR, Direction
from tests.faults.system import DATABASE, System

LINK = f"consumer>{DATABASE}"
POLL_SECONDS = 0.02
HAS_ENTRIES_SECONDS_MAX = 5.0
# A consumer takes over what has rested for five seconds, and looks every two or three.
CLAIMED_SECONDS_MAX = 15.0


@dataclass(frozen=True, slots=True)
class LateWaking:
    """Freezes the consumer ``target`` over entries that it cannot commit, until they are claimed.

    Its statements are held back by the link, so that the entries are surely in its hands and not in
    PostgreSQL; what it had sent arrives while it sleeps, and may begin a transaction that nobody
    ends.
    """

    system: System
    target: str
    freeze: Callable[[list[int]], None]
    thaw: Callable[[list[int]], None]

    async def run(self) -> bool:
        """Whether it came about: the entries were claimed, and then the consumer woke."""
        pids = self.system.pids(self.target)
        link = self.system.links[LINK]
        weather = replace(FAIR, silent=frozenset({Direction.UP}))
        link.becomes(weather)
        try:
            if not pids or not await self._until(pids[0], True, HAS_ENTRIES_SECONDS_MAX):
                return False
            self.freeze(pids)
        finally:
            if link.weather == weather:
                link.becomes(FAIR)
        try:
            return await self._until(pids[0], False, CLAIMED_SECONDS_MAX)
        finally:
            self.thaw(pids)

    async def _until(self, pid: int, holds_entries: bool, timeout_seconds: float) -> bool:
        """Whether the process came to hold entries of the group, or none, in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while True:
                    with suppress(RedisError, OSError):
                        if (await self._pending(pid) > 0) is holds_entries:
                            return True
                    await asyncio.sleep(POLL_SECONDS)
        return False

    async def _pending(self, pid: int) -> int:
        """Entries that are pending with the process, by the pid in its name, over all shards."""
        pending = 0
        async with Redis.from_url(self.system.store.url, socket_timeout=2.0) as redis:
            for shard in range(self.system.shape.shards):
                members = await redis.xinfo_consumers(keys.intents(shard), GROUP)
                pending += sum(
                    each["pending"] for each in members if f":{pid}:".encode() in each["name"]
                )
        return pending
