"""The crowd of a run: a great many who want a unit, and nothing more of the service.

Nobody of them pays. What they are given comes back when its time to pay is over and is sold again,
many times over, so that a run proves what an answer says at a volume that full journeys, with their
payments and parcels, would not reach.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.clients import Buyer
from tests.faults.operating import Offer
from tests.faults.shopping import Shopping

SKUS = ("84406B", "84029G")
PER_BUYER_LIMIT = 100
SHOPPERS_AT_ONCE = 256
ATTEMPTS_MAX = 3
SUPPLY = 0.25
"""Units against what is wanted of them within one time to pay."""
REGULARS = 3
"""Buyers who come again and again, until they are at their limit."""
REGULARS_SHARE = 0.1
_QUANTITIES, _OF_REGULARS = ((1, 2, 3), (6, 3, 1)), ((2, 5, 10), (1, 1, 1))
_UNITS_MEAN = 1.5 * (1 - REGULARS_SHARE) + 5.7 * REGULARS_SHARE


@dataclass(frozen=True, slots=True)
class Wish:
    """One purchase that somebody is about to make."""

    at_seconds: float
    buyer: Buyer
    sku: str
    quantity: int
    key: str


def offers_for(count: int, seconds: float, window_seconds: float) -> Mapping[str, Offer]:
    """What ``count`` wishes within ``seconds`` are for; nothing for none."""
    if not count:
        return {}
    wanted = count * _UNITS_MEAN / len(SKUS) * min(1.0, window_seconds / seconds)
    return {sku: Offer(PER_BUYER_LIMIT + int(SUPPLY * wanted), PER_BUYER_LIMIT) for sku in SKUS}


def plan_wishes(seed: int, count: int, seconds: float, buyers: Sequence[Buyer]) -> Iterator[Wish]:
    """``count`` wishes in order within ``seconds``; made as they are taken, kept by nobody."""
    chance = random.Random(f"crowd/{seed}")
    for n in range(count):
        of_a_regular = chance.random() < REGULARS_SHARE
        among = min(REGULARS, len(buyers)) if of_a_regular else len(buyers)
        quantities, weights = _OF_REGULARS if of_a_regular else _QUANTITIES
        yield Wish(
            at_seconds=(n + chance.random()) * seconds / count,
            buyer=buyers[chance.randrange(among)],
            sku=chance.choice(SKUS),
            quantity=chance.choices(quantities, weights)[0],
            key=uuid.UUID(int=chance.getrandbits(128)).hex,
        )


async def come(shopping: Shopping, wishes: Iterator[Wish]) -> None:
    """Each at its time, or as soon as somebody of so many is free; returns when all are served.

    Who has no answer after a few attempts leaves: the key is asked for again at the end.
    """
    clock = asyncio.get_running_loop().time
    began = clock()

    async def shop() -> None:
        for wish in wishes:
            await asyncio.sleep(max(0.0, began + wish.at_seconds - clock()))
            body = {"sku": wish.sku, "quantity": wish.quantity}
            await shopping.ask(wish.buyer, wish.key, body, ATTEMPTS_MAX)

    async with asyncio.TaskGroup() as group:
        for _ in range(SHOPPERS_AT_ONCE):
            group.create_task(shop())
