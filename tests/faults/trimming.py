"""Somebody trims the stream of what PostgreSQL does not have: who is told, what is the way back.

No part of the service does that; a hand at the store's prompt does, or another client of it. What
is gone is gone: the purchase was accepted, its unit is taken, and no order will ever come of it. So
it must be told of, by ``verify`` and by reconciliation; a forced rebuild gives the units back.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from flashorder.infra.redis import keys
from flashorder.inventory.reconciliation.stream import GROUP
from tests.faults.breaking import Breaker
from tests.faults.history import LOSS, REBUILT, HistoryFile
from tests.faults.operating import Operator, Sale
from tests.faults.reading import read_own_findings
from tests.faults.snapshot import Trim
from tests.faults.store_log import EARLY_TRIM_MARK
from tests.faults.system import System

ENTRIES_MAX = 5
UNREAD_SECONDS_MAX = 20.0
TOLD_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
# In one transaction of the log, with a mark in it: these removals were done to the service.
TRIM_UNREAD = """
local last = '-'
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for n = 1, #group, 2 do
    if group[n] == 'name' and group[n + 1] ~= ARGV[1] then break end
    if group[n] == 'last-delivered-id' then last = '(' .. group[n + 1] end
  end
end
local unread = redis.call('XRANGE', KEYS[1], last, '+', 'COUNT', ARGV[2])
if #unread == 0 then return {} end
local ms, seq = string.match(unread[#unread][1], '^(%d+)-(%d+)$')
redis.call('SET', KEYS[2], 1)
redis.call('XTRIM', KEYS[1], 'MINID', ms .. '-' .. string.format('%d', seq + 1))
redis.call('DEL', KEYS[2])
local gone = {}
for n, entry in ipairs(unread) do gone[n] = entry[1] end
return gone
"""


@dataclass(slots=True)
class EarlyTrims:
    """Trims, waits until it is told, has the sale rebuilt; ``done`` is what came of each."""

    system: System
    breaker: Breaker
    operator: Operator
    history: HistoryFile
    chance: random.Random
    done: list[Trim] = field(default_factory=list)

    async def run(self, sale: Sale, times: int, seconds: float) -> None:
        """``times`` of them, spread over ``seconds``."""
        for _ in range(times):
            await asyncio.sleep(seconds / (times + 1))
            shard = self.chance.randrange(self.system.shape.shards)
            self.history.happens(LOSS)
            gone = await self._trim(shard)
            told_by = await self._told_by() if gone else []
            self.done.append(Trim(shard=shard, unread=gone, told_by=told_by))
            await self.operator.rebuild(sale, force=True)
            self.history.happens(REBUILT)

    async def _trim(self, shard: int) -> int:
        """How many entries that nobody had read are gone: consumers sleep until there are some."""
        consumers = [name for name in self.system.roles if name.startswith("consumer.")]
        pids = [pid for name in consumers for pid in self.system.pids(name)]
        self.breaker.freeze(pids)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(UNREAD_SECONDS_MAX):
                    while not (gone := await self._trim_once(shard)):
                        await asyncio.sleep(POLL_SECONDS)
                    return gone
            return 0
        finally:
            self.breaker.thaw(pids)

    async def _trim_once(self, shard: int) -> int:
        with suppress(RedisError, OSError):
            async with Redis.from_url(self.system.store.url, socket_timeout=2.0) as redis:
                names = keys.intents(shard), EARLY_TRIM_MARK
                count = self.chance.randint(1, ENTRIES_MAX)
                gone: Any = await redis.eval(TRIM_UNREAD, len(names), *names, GROUP, count)
                return len(gone)
        return 0

    async def _told_by(self) -> list[str]:
        """The checks of ``verify`` that tell of it, as soon as any does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD_SECONDS_MAX):
                while True:
                    with suppress(Exception):  # a store is down at the moment
                        found = await read_own_findings(self.system.settings)
                        names = sorted(each.check for each in found)
                        if set(names) - {"stream.nothing_in_flight"}:
                            return names
                    await asyncio.sleep(POLL_SECONDS)
        return []
