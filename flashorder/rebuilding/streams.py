"""Waiting until PostgreSQL has everything that is in the intents streams now."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import store_failures
from flashorder.inventory.reconciliation.stream import group_state, parse_entry_id
from flashorder.kernel.errors import Conflict

POLL_SECONDS = 0.05


async def until_applied(redis: Redis, shards: int, timeout_seconds: float) -> None:
    """Return once all that the streams hold at the call is acknowledged, so in PostgreSQL.

    What comes in meanwhile is not waited for. ``Conflict`` ``intents_not_applied`` when the
    consumers take longer than ``timeout_seconds``; ``StoreUnavailable``.
    """
    deadline = time.monotonic() + timeout_seconds
    for shard in range(shards):
        last = await _last_entry(redis, shard)
        while not await _is_applied(redis, shard, last):
            if time.monotonic() >= deadline:
                raise Conflict(
                    f"the consumers have not applied what is in the stream of shard {shard}: let "
                    "them catch up, then go on",
                    code="intents_not_applied",
                    retry_after_seconds=1.0,
                )
            await asyncio.sleep(POLL_SECONDS)


async def _last_entry(redis: Redis, shard: int) -> tuple[int, int]:
    try:
        with store_failures():
            info = await redis.xinfo_stream(keys.intents(shard))
    except ResponseError as error:
        if "no such key" in str(error):
            return (0, 0)
        raise
    # Not the last id: that rises without an entry as well (lua/give_up.lua, lua/mark.lua).
    return parse_entry_id(info["last-entry"][0]) if info["last-entry"] else (0, 0)


async def _is_applied(redis: Redis, shard: int, last: tuple[int, int]) -> bool:
    state = await group_state(redis, shard)
    return not state.entries or (state.exists and state.lowest_unacknowledged > last)
