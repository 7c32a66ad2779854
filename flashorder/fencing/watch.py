"""Looking at the store by the clock, so that one that is behind is found without a purchase."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import structlog
from redis.asyncio import Redis

from flashorder.fencing.lives import Lives
from flashorder.infra.redis.lives import Life, Standing, Told
from flashorder.kernel.errors import Unavailable
from flashorder.reservations.ports import Fence
from flashorder.settings import Settings

log = structlog.get_logger(__name__)


class Knowledge(Protocol):
    """What a process was told of each shard, server by server."""

    def told(self, shard: int) -> Sequence[Told]:
        """All of it."""
        ...

    def settled(self, shard: int, told: Sequence[Told], life: Life) -> None:
        """The server has all of ``told``, or it was given up."""
        ...


class Nothing:
    """The knowledge of a process that nobody tells of entries."""

    def told(self, shard: int) -> Sequence[Told]:
        """Nothing."""
        return ()

    def settled(self, shard: int, told: Sequence[Told], life: Life) -> None:
        """Nothing to forget."""


class ToldLines:
    """The knowledge of a web worker: its lines', each of which asks before it forgets.

    ``lines`` are of one kind each, by shard.
    """

    def __init__(self, *lines: Sequence[Told]) -> None:
        self._lines = lines

    def told(self, shard: int) -> Sequence[Told]:
        """What each line to the shard was told."""
        return [each[shard] for each in self._lines]

    def settled(self, shard: int, told: Sequence[Told], life: Life) -> None:
        """Nothing: the line may lead to another server still."""


class LifeWatch:
    """Has every new server settled by ``fence`` within ``store_watch_seconds`` of its coming.

    Each look tells where the stream is, so what is older than one is missed even where nobody lives
    who was told of an entry.
    """

    def __init__(
        self, redis: Redis, fence: Fence, knowledge: Knowledge, settings: Settings
    ) -> None:
        self._redis = redis
        self._fence = fence
        self._knowledge = knowledge
        self._seen = [Told() for _ in range(settings.shards)]
        self._interval_seconds = settings.store_watch_seconds

    async def run(self, stopping: asyncio.Event) -> None:
        """Look until ``stopping`` is set; a store that is away is waited for."""
        while not stopping.is_set():
            for shard in range(len(self._seen)):
                try:
                    await self.look(shard)
                except Unavailable:
                    pass  # whoever wants something of the store tells of it
                except Exception as error:  # what cannot be understood must not end the watch
                    log.warning("store_life_unreadable", shard=shard, error=repr(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._interval_seconds)

    async def look(self, shard: int) -> None:
        """One look; ``Unavailable`` when a store is away that is needed for it."""
        lives = Lives(self._redis, shard)
        # Copies: what is told meanwhile is told by whichever server that is by then.
        of_others = [replace(told) for told in self._knowledge.told(shard)]
        for told in (*of_others, self._seen[shard]):
            life = await lives.check(told)
            if life.standing is not Standing.VERIFIED:
                await self._fence.settle(shard, told)
                life = await lives.check(told)
            if life.standing is not Standing.VERIFIED:
                return
        self._seen[shard].hear(life)
        self._knowledge.settled(shard, of_others, life)
