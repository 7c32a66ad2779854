"""The end of a sale: fresh buyers buy and pay until there is nothing left, for good."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.clients import Buyer
from tests.faults.history import Outcome
from tests.faults.operating import Sale
from tests.faults.shopping import Errand, Fate, Shopping

PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Drain:
    """Drains ``sale`` at each of ``shards``; ``newcomer`` is a fresh buyer of a shard.

    ``until_quiet`` returns when no unit can come back, or patience has ended.
    """

    shopping: Shopping
    sale: Sale
    shards: int
    newcomer: Callable[[int], Buyer]
    until_quiet: Callable[[], Awaitable[object]]

    async def run(self, patience_seconds: float) -> bool:
        """Whether every shard refuses each SKU as sold out although nothing can come back."""
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline:
            await self.until_quiet()
            async with asyncio.TaskGroup() as group:
                rounds = [
                    group.create_task(self._empty(sku, shard, deadline, group))
                    for sku in self.sale.offers
                    for shard in range(self.shards)
                ]
            if not any(each.result() for each in rounds):
                return True
        return False

    async def _empty(
        self, sku: str, shard: int, deadline: float, journeys: asyncio.TaskGroup
    ) -> bool:
        """Buy until it is refused as sold out; whether anything was to be had or is in doubt.

        As much at once as one buyer may have, then less: what is paid for does not come back.
        """
        bought = False
        quantity = self.sale.offers[sku].per_buyer_limit
        while time.monotonic() < deadline:
            errand = Errand(
                0.0, self.newcomer(shard), sku, quantity, uuid.uuid4().hex, Fate.PAYS, 1
            )
            call = await self.shopping.buy(errand)
            if call.outcome is Outcome.OK:
                bought = True
                journeys.create_task(self.shopping.follow(errand, call))
            elif call.code != "sold_out":
                await asyncio.sleep(PAUSE_SECONDS)
            elif quantity == 1:
                return bought
            else:
                quantity //= 2
        return True
