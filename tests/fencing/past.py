"""A store of the tests goes back to what it was, as after a restart with an older disk."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from flashorder.infra.redis import keys

FORMER = "0" * 40
"""The run_id of a server that is no more."""


@dataclass(frozen=True)
class Past:
    """Every key as it was at a moment."""

    dump: dict[bytes, bytes]

    @classmethod
    async def of(cls, redis: Redis) -> Past:
        return cls({key: await redis.dump(key) for key in await redis.keys("*")})

    async def comes_back(self, redis: Redis) -> None:
        """The server that answers holds this, and somebody else's verification."""
        await redis.flushall()
        for key, value in self.dump.items():
            await redis.restore(key, 0, value)
        await is_another_server(redis)


async def is_another_server(redis: Redis, shards: int = 2, former: str = FORMER) -> None:
    """What the store holds was verified when another server had it: so it is after a restart."""
    for shard in range(shards):
        life = await redis.hgetall(keys.life(shard))
        present = life.get(b"identity", b"")
        for name, value in life.items():
            await redis.hset(keys.life(shard), name, value.replace(present, former.encode()))
