"""Fences for tests of what stands behind one; flashorder/fencing has the real one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from redis.asyncio import Redis

from flashorder.fencing.lives import Lives
from flashorder.infra.redis.lives import Told


@dataclass
class Trusting:
    """Takes every server for whole: the purchases of these tests are in no database."""

    redis: Redis
    asked: list[Told] = field(default_factory=list)

    async def settle(self, shard: int, told: Told) -> None:
        self.asked.append(Told(told.by, told.highest))
        lives = Lives(self.redis, shard)
        life = await lives.check(told)
        await lives.begin(life.identity, told.highest)


class NothingPromised:
    """The memory of a house whose sales are in no database: what is not there never was."""

    async def check_unknown(self, sale_id: uuid.UUID) -> None:
        """Return."""
