"""Receipts that are presented: verified, then decided by lua/honour.lua.

Nobody presents one unless the front has lost a purchase, and then many do at once. Each shard has a
line to the store of its own, a receipt at a time, so that they wait for one another and not
purchases for them.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import RETRY_AFTER_SECONDS, store_failures
from flashorder.infra.redis.scripts import load_script
from flashorder.kernel.errors import Overloaded
from flashorder.kernel.identifiers import shard_of
from flashorder.reservations.admission import Admission
from flashorder.reservations.greeting import Greeting
from flashorder.reservations.line import ScriptLine
from flashorder.reservations.ports import Fence
from flashorder.reservations.records import HonourCode, HonourVerdict, Purchase

WAITING_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Presented:
    """A receipt that holds; ``purchase`` has the order id, ``unit_price_amount`` is minor units."""

    purchase: Purchase
    unit_price_amount: int

    @property
    def order_id(self) -> bytes:
        """Its 16 bytes."""
        return self.purchase.prefix + self.purchase.token


class Honouring:
    """Has the store decide receipts. Raises ``Overloaded``, ``StoreUnavailable``.

    Nothing is sent to a server whose data ``fence`` has not settled. After either, or without an
    answer, the receipt may have been honoured or not: presenting it
    again tells, and counts once.
    """

    def __init__(self, redis: Redis, shards: int, admission: Admission, fence: Fence) -> None:
        script = load_script("honour")
        greetings = [Greeting(shard, fence) for shard in range(shards)]
        self.told = [greeting.told for greeting in greetings]
        """What each shard's line was told of its stream."""
        self._lines = [ScriptLine(redis, script, greeting) for greeting in greetings]
        self._turns = [asyncio.Lock() for _ in range(shards)]
        self._admission = admission
        self._waiting = 0

    async def honour(self, presented: Presented) -> HonourVerdict:
        """The store's word, after it has fsynced whatever it took."""
        self._admission.check()
        if self._waiting >= WAITING_MAX:
            raise Overloaded(retry_after_seconds=RETRY_AFTER_SECONDS)
        purchase = presented.purchase
        shard = shard_of(purchase.buyer_id, len(self._lines))
        who, _ = purchase.arguments()
        arguments = (
            purchase.generation,
            purchase.sale_id.bytes,
            who,
            purchase.quantity,
            presented.unit_price_amount,
            purchase.sku,
        )
        self._waiting += 1
        try:
            async with self._turns[shard]:
                reply = await self._ask(shard, purchase.sale_id, arguments)
        finally:
            self._waiting -= 1
        code, detail, now_ms, window_ms, last_id = reply
        if last_id:
            self.told[shard].highest = last_id
        return HonourVerdict(HonourCode(code), detail, now_ms, window_ms)

    async def close(self) -> None:
        """Give the connections up."""
        for line in self._lines:
            await line.close()

    async def _ask(
        self, shard: int, sale_id: uuid.UUID, arguments: tuple[bytes | str | int, ...]
    ) -> list[Any]:
        line = self._lines[shard]
        try:
            with store_failures():
                await line.send(keys.reserve_keys(shard, sale_id), arguments, idle=True)
                reply: list[Any] = await line.receive()
        except BaseException:  # the reply of a call that was broken off must not be the next one's
            await line.close()
            raise
        return reply
