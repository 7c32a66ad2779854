"""What the buyers of a run do: planned from the seed, carried out over HTTP, whatever breaks."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.faults.clients import Buyer, Clients
from tests.faults.history import Call, Outcome

ATTEMPTS_MAX = 4
PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
ERRANDS_AT_ONCE_MAX = 300


class Fate(StrEnum):
    """What the buyer makes of an order."""

    PAYS = "pays"
    DECLINES = "declines"
    FORGETS = "forgets"
    CANCELS = "cancels"
    CANCELS_PAID = "cancels paid"
    PAYS_LATE = "pays late"
    PAYS_TWICE_AT_ONCE = "pays twice at once"


_FATES = {
    Fate.PAYS: 50,
    Fate.DECLINES: 8,
    Fate.FORGETS: 10,
    Fate.CANCELS: 8,
    Fate.CANCELS_PAID: 9,
    Fate.PAYS_LATE: 10,
    Fate.PAYS_TWICE_AT_ONCE: 5,
}


@dataclass(frozen=True, slots=True)
class Errand:
    """One purchase that somebody means to make; ``clicks`` at once, all with the same key."""

    starts_at_seconds: float
    buyer: Buyer
    sku: str
    quantity: int
    key: str
    fate: Fate
    clicks: int


def plan_errands(
    seed: int, count: int, seconds: float, buyers: Sequence[Buyer], skus: Sequence[str]
) -> list[Errand]:
    """``count`` errands within ``seconds``; the first SKU is the one that most people want."""
    chance = random.Random(f"errands/{seed}")
    weights = [2 ** (len(skus) - n) for n in range(len(skus))]
    moments = sorted(chance.uniform(0.0, seconds) for _ in range(count))
    return [
        Errand(
            starts_at_seconds=at,
            buyer=chance.choice(buyers),
            sku=chance.choices(skus, weights)[0],
            quantity=chance.choices([1, 2], [7, 3])[0],
            key=uuid.UUID(int=chance.getrandbits(128)).hex,
            fate=chance.choices(list(_FATES), list(_FATES.values()))[0],
            clicks=chance.choices([1, 2, 3], [17, 2, 1])[0],
        )
        for at in moments
    ]


class Shopping:
    """Runs errands for one sale; ``window_seconds`` is how long a buyer has to pay."""

    def __init__(
        self, clients: Clients, sale_id: str, *, window_seconds: float, chance: random.Random
    ) -> None:
        self._clients = clients
        self._sale_id = sale_id
        self._window_seconds = window_seconds
        self._chance = chance
        self._room = asyncio.Semaphore(ERRANDS_AT_ONCE_MAX)

    async def run(self, errands: Sequence[Errand]) -> None:
        """Each at its time; returns when all have come home."""
        clock = asyncio.get_running_loop().time
        began = clock()
        async with asyncio.TaskGroup() as group:
            for errand in errands:
                await asyncio.sleep(max(0.0, began + errand.starts_at_seconds - clock()))
                await self._room.acquire()
                task = group.create_task(self.go(errand))
                task.add_done_callback(lambda _: self._room.release())

    async def go(self, errand: Errand) -> None:
        """One errand: buy, and live with what was bought."""
        call = await self.buy(errand)
        if call.outcome is Outcome.OK:
            await self.follow(errand, call)

    async def buy(self, errand: Errand) -> Call:
        """Click as often as this one clicks; an acceptance if there is one among the answers."""
        body = {"sku": errand.sku, "quantity": errand.quantity}
        clicks = (self.ask(errand.buyer, errand.key, body) for _ in range(errand.clicks))
        answers = await asyncio.gather(*clicks)
        return next((call for call in answers if call.outcome is Outcome.OK), answers[0])

    async def follow(self, errand: Errand, told: Call) -> None:
        """Look at the order that was told of, and then do what fate has in mind."""
        order_id = str(told.body["order_id"])
        await self._clients.look(errand.buyer, order_id)
        await self._live(errand, order_id)

    async def ask(
        self, buyer: Buyer, key: str, body: dict[str, Any], attempts_max: int = ATTEMPTS_MAX
    ) -> Call:
        """A purchase, for the first time or once more, until it is answered or patience ends."""
        return await self._until_answered(
            lambda: self._clients.buy(buyer, self._sale_id, key, body), attempts_max=attempts_max
        )

    async def _live(self, errand: Errand, order_id: str) -> None:
        match errand.fate:
            case Fate.PAYS:
                await self._pay(errand, order_id, "1", "approve")
            case Fate.DECLINES:
                await self._pay(errand, order_id, "1", "decline")
            case Fate.CANCELS:
                await self._cancel(errand, order_id)
            case Fate.CANCELS_PAID:
                await self._pay(errand, order_id, "1", "approve")
                await asyncio.sleep(self._chance.uniform(0.0, 1.5))
                await self._cancel(errand, order_id)
            case Fate.PAYS_LATE:
                late = self._window_seconds + self._chance.uniform(-0.5, 1.5)
                await self._pay(errand, order_id, "1", "approve", waits_seconds=late)
            case Fate.PAYS_TWICE_AT_ONCE:
                ways = (self._pay(errand, order_id, key, "approve") for key in ("1", "2"))
                await asyncio.gather(*ways)
            case Fate.FORGETS:
                pass

    async def _pay(
        self,
        errand: Errand,
        order_id: str,
        key: str,
        decision: str,
        *,
        waits_seconds: float = 0.0,
    ) -> None:
        started = await self._until_answered(
            lambda: self._clients.pay(errand.buyer, order_id, f"{order_id}/{key}"),
            again=frozenset({"order_not_ready"}),
        )
        action = started.body.get("action") if started.outcome is Outcome.OK else None
        if not action:
            return
        await asyncio.sleep(waits_seconds or self._chance.uniform(0.0, 0.5))
        await self._until_answered(
            lambda: self._clients.decide(errand.buyer, order_id, action["url"], decision)
        )

    async def _cancel(self, errand: Errand, order_id: str) -> None:
        await self._until_answered(
            lambda: self._clients.cancel(errand.buyer, order_id, f"{order_id}/cancel"),
            again=frozenset({"order_not_found", "order_not_ready"}),
        )

    async def _until_answered(
        self,
        ask: Callable[[], Awaitable[Call]],
        again: frozenset[str] = frozenset(),
        attempts_max: int = ATTEMPTS_MAX,
    ) -> Call:
        """Repeat what has no answer, or a code of ``again``, with the same key, for a while."""
        pause_seconds = PAUSE_SECONDS_MIN
        for attempt in range(attempts_max):
            if attempt:
                await asyncio.sleep(pause_seconds * self._chance.uniform(0.5, 1.5))
                pause_seconds = min(PAUSE_SECONDS_MAX, pause_seconds * 3)
            call = await ask()
            if call.outcome is not Outcome.UNKNOWN and call.code not in again:
                break
        return call
