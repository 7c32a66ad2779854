"""Buyers who present the receipts of their 202s: those whose order is gone, and some others.

Each comes in another order: receipt before key, key before receipt, the receipt twice at once. Now
and then somebody presents what is another's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import asyncpg

from tests.faults.clients import Buyer, Clients
from tests.faults.history import Call, Outcome, accepted, read_history
from tests.faults.shopping import Shopping
from tests.faults.system import System

KEPT_PRESENTED_MAX = 60
"""Receipts of orders that are not gone, which must change nothing."""
STOLEN_MAX = 20
ATTEMPTS_MAX = 4
AT_ONCE = 32


class Presenting:
    """Presents what the history in ``path`` says that buyers of one sale were told of."""

    def __init__(
        self,
        system: System,
        clients: Clients,
        shopping: Shopping,
        sale_id: str,
        tokens: Mapping[str, Buyer],
        path: Path,
        chance: random.Random,
    ) -> None:
        self._system = system
        self._clients = clients
        self._shopping = shopping
        self._sale_id = sale_id
        self._tokens = tokens
        self._path = path
        self._chance = chance

    async def after(self, losing: Awaitable[object]) -> None:
        """``run`` while the sale goes on, once nothing is lost any more."""
        await losing
        await self.run()

    async def run(self) -> int:
        """All whose order is gone, some whose is not, and some thieves; how many were gone."""
        told = [
            calls[0]
            for attempts in read_history(self._path).purchases().values()
            if attempts[0].asked.subject == self._sale_id and (calls := accepted(attempts))
        ]
        there = await self._orders()
        gone = [call for call in told if str(call.body["order_id"]) not in there]
        kept = [call for call in told if str(call.body["order_id"]) in there]
        some = self._chance.sample(kept, min(len(kept), KEPT_PRESENTED_MAX))
        await self._all([*gone, *some], self._one)
        stolen = self._chance.sample(told, min(len(told), STOLEN_MAX))
        await self._all(stolen, self._steal)
        return len(gone)

    async def _all(self, calls: Sequence[Call], do: Callable[[Call], Awaitable[None]]) -> None:
        waiting: Iterator[Call] = iter(calls)

        async def work() -> None:
            for call in waiting:
                await do(call)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(calls))):
                group.create_task(work())

    async def _one(self, told: Call) -> None:
        buyer = self._tokens[told.asked.buyer]
        way = self._chance.choice(("receipt", "receipt, key", "key, receipt", "both"))
        if way == "both":
            await asyncio.gather(self._present(buyer, told), self._present(buyer, told))
        elif way == "key, receipt":
            await self._shopping.ask(buyer, told.asked.key, told.asked.body)
            await self._present(buyer, told)
        else:
            await self._present(buyer, told)
            if way == "receipt, key":
                await self._shopping.ask(buyer, told.asked.key, told.asked.body)

    async def _present(self, buyer: Buyer, told: Call) -> None:
        for _ in range(ATTEMPTS_MAX):
            call = await self._clients.present(buyer, self._sale_id, told.body)
            if call.outcome is not Outcome.UNKNOWN:
                return
            await asyncio.sleep(self._chance.uniform(0.1, 1.0))

    async def _steal(self, told: Call) -> None:
        (thief,) = self._system.buyers(1)
        await self._clients.steal(thief, self._sale_id, told.body)

    async def _orders(self) -> frozenset[str]:
        """Every order that PostgreSQL has, and every dead letter that stands for one."""
        connection = await asyncpg.connect(self._system.database.url, timeout=5.0)
        try:
            rows = await connection.fetch(
                "SELECT order_id FROM orders UNION ALL "
                "SELECT order_id FROM dead_letters WHERE order_id IS NOT NULL"
            )
        finally:
            await connection.close()
        return frozenset(str(row["order_id"]) for row in rows)
