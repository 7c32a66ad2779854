"""What a server's data is worth: whole, then it sells; behind, then its sales are fenced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from redis.asyncio import Redis

from flashorder.fencing.lives import Lives
from flashorder.fencing.metrics import FencingMetrics
from flashorder.fencing.model import Begun, Fenced, GivenUp, Marked, highest
from flashorder.fencing.positions import known_position, write_position
from flashorder.fencing.retelling import Retelling
from flashorder.infra.postgres.pool import Pool
from flashorder.infra.redis.connection import RETRY_AFTER_SECONDS
from flashorder.infra.redis.lives import Life, Standing, Told
from flashorder.kernel.errors import StoreUnavailable

log = structlog.get_logger(__name__)


class Fencing:
    """The port ``Fence``, and the marks behind which nothing may be missing.

    ``connect`` makes a client of one connection: everything about a server is asked of and told to
    that server, and each decisive step is refused by another. Several processes may settle the same
    server at once. Raises ``StoreUnavailable``, ``DatabaseUnavailable``.
    """

    def __init__(
        self, pool: Pool, connect: Callable[[], Redis], shards: int, metrics: FencingMetrics
    ) -> None:
        self._pool = pool
        self._connect = connect
        self._shards = shards
        self._metrics = metrics

    async def settle(self, shard: int, told: Told) -> None:
        """See ``Fence.settle``."""
        await self._settle(shard, told)

    async def settle_all(self) -> tuple[bytes, ...]:
        """``settle`` every shard by what PostgreSQL knows; the servers that stand behind them."""
        return tuple([await self._settle(shard, Told()) for shard in range(self._shards)])

    async def mark(self, servers: Sequence[bytes]) -> None:
        """Write down, in both stores, that what ``servers`` were told so far may not be missing.

        For what leaves no entry in the stream and cannot be told again: a generation that was
        filled anew. ``StoreUnavailable`` when another server stands behind a shard by now.
        """
        async with self._connect() as redis:
            for shard, identity in enumerate(servers):
                outcome, marked = await Lives(redis, shard).mark(identity)
                if outcome is Marked.MOVED:
                    raise _moved()
                await write_position(self._pool, shard, marked)

    async def _settle(self, shard: int, told: Told) -> bytes:
        async with self._connect() as redis:
            lives = Lives(redis, shard)
            life = await lives.check(told)
            if life.standing is Standing.VERIFIED:
                return life.identity
            # While the life is new nothing is accepted in it, so this is of former lives.
            applied = await known_position(self._pool, shard)
            retelling = Retelling(self._pool, redis, shard, self._shards)
            whole = (
                life.standing is Standing.NEW
                and highest(applied, life.last_id) == life.last_id
                and await retelling.run(life.last_id)
                and await self._begin(lives, shard, life, told, applied)
            )
            if not whole:
                known = highest(told.highest, applied)
                await self._fence(lives, retelling, shard, life, known)
            return life.identity

    async def _begin(
        self, lives: Lives, shard: int, life: Life, told: Told, applied: bytes
    ) -> bool:
        begun = await lives.begin(life.identity, applied)
        if begun is Begun.MOVED:
            raise _moved()
        if begun is Begun.ALREADY:
            return (await lives.check(told)).standing is Standing.VERIFIED
        if begun is Begun.BEGUN:
            self._metrics.verified.inc()
            log.info(
                "store_verified",
                shard=shard,
                known=highest(told.highest, applied).decode(),
                last=life.last_id.decode(),
            )
        return begun is Begun.BEGUN

    async def _fence(
        self, lives: Lives, retelling: Retelling, shard: int, life: Life, known: bytes
    ) -> None:
        """Close the sales first: a life that has begun may be sold from.

        What this process alone was told is written down before, lest it be forgotten with it.
        """
        await write_position(self._pool, shard, known)
        sales = await lives.sales()
        fenced = []
        for sale_id in sales:
            outcome = await lives.fence(life.identity, sale_id)
            if outcome is Fenced.MOVED:
                raise _moved()
            if outcome is Fenced.GIVEN_UP:
                return
            if outcome is Fenced.FENCED:
                fenced.append(str(sale_id))
        given_up = await lives.give_up(life.identity, known)
        if given_up is GivenUp.MOVED:
            raise _moved()
        if given_up is GivenUp.GIVEN_UP:
            self._metrics.behind.inc()
            log.error(
                "store_behind",
                shard=shard,
                known=known.decode(),
                last=life.last_id.decode(),
                fenced=fenced,
            )
        await retelling.forget_settled(sales)


def _moved() -> StoreUnavailable:
    return StoreUnavailable(
        "another server answers than a moment ago", retry_after_seconds=RETRY_AFTER_SECONDS
    )
