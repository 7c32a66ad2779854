"""What is asked of a server before a purchase is sent to it."""

from __future__ import annotations

from flashorder.infra.redis.connection import RETRY_AFTER_SECONDS
from flashorder.infra.redis.lives import Standing, Told, check_life
from flashorder.kernel.errors import StoreUnavailable, Unavailable
from flashorder.reservations.line import ScriptLine
from flashorder.reservations.ports import Fence


class Greeting:
    """Lets a line of one shard be used once its server's data is settled by ``fence``.

    ``told`` is what the line's owner was told of the shard's stream, by whichever server that was.
    """

    def __init__(self, shard: int, fence: Fence) -> None:
        self._shard = shard
        self._fence = fence
        self.told = Told()

    async def __call__(self, line: ScriptLine) -> None:
        """Make sure of the server at the other end: it may lack what the owner was told of."""
        life = await check_life(line.ask, self._shard, self.told)
        if life.standing is not Standing.VERIFIED:
            try:
                await self._fence.settle(self._shard, self.told)
            except Unavailable as error:
                raise StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error
            # Asked once more: what was settled may be another server than this one.
            life = await check_life(line.ask, self._shard, self.told)
            if life.standing is not Standing.VERIFIED:
                raise StoreUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        self.told.hear(life)
