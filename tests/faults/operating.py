"""What the operator of a run does: the sale, its top-ups, its rebuilding; asked until answered."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from redis.asyncio import Redis

from tests.faults.clients import Buyer
from tests.faults.history import LOSS, REBUILT, HistoryFile
from tests.faults.system import System

CALL_TIMEOUT_SECONDS = 3.0
PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 180.0
TOP_UPS = 2
REBUILD_AGAIN = frozenset({"intents_not_applied", "rebuild_incomplete", "rebuild_overtaken"})
REBUILD_TIMEOUT_SECONDS = 60.0


class NoAnswer(Exception):
    """The service does not answer any more: worse than anything that a check would tell."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An item of the sale: its units at the opening, and how many one buyer may have."""

    units: int
    per_buyer_limit: int


@dataclass(slots=True)
class Sale:
    """The sale, what is offered in it by SKU, and what the operator gave to it by (sale, SKU)."""

    sale_id: str
    offers: Mapping[str, Offer]
    top_ups: defaultdict[tuple[str, str], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @property
    def initial(self) -> dict[tuple[str, str], int]:
        """Units at the opening."""
        return {(self.sale_id, sku): offer.units for sku, offer in self.offers.items()}


class Operator:
    """Somebody with the right to do all that; calls through the clients' link."""

    def __init__(
        self,
        system: System,
        session: aiohttp.ClientSession,
        history: HistoryFile,
        chance: random.Random,
    ) -> None:
        self._system = system
        self._session = session
        self._history = history
        self._chance = chance
        self.account: Buyer = system.operator()

    async def open_sale(self, title: str, offers: Mapping[str, Offer], window_seconds: int) -> Sale:
        """A sale that is open for half a day."""
        now = datetime.now(UTC)
        created = await self._call(
            "sales",
            {
                "title": title,
                "starts_at": (now - timedelta(minutes=1)).isoformat(),
                "ends_at": (now + timedelta(hours=12)).isoformat(),
                "payment_window_seconds": window_seconds,
                "items": [
                    {
                        "sku": sku,
                        "quantity": offer.units,
                        "unit_price": {"amount": 199 + 100 * n, "currency": "GBP"},
                        "per_buyer_limit": offer.per_buyer_limit,
                    }
                    for n, (sku, offer) in enumerate(offers.items())
                ],
            },
        )
        sale_id = str(created["sale_id"])
        await self._call(f"sales/{sale_id}/open", {})
        return Sale(sale_id, offers)

    async def top_up(self, sale: Sale, seconds: float) -> None:
        """Two of them in the middle of ``seconds``, each of another SKU."""
        for _, sku in zip(range(TOP_UPS), sale.offers, strict=False):
            await asyncio.sleep(seconds / (TOP_UPS + 1))
            await self.add(sale, sku, self._chance.randint(3, 9))

    async def add(self, sale: Sale, sku: str, quantity: int) -> None:
        """A top-up."""
        await self._call(f"sales/{sale.sale_id}/top-up", {"sku": sku, "quantity": quantity})
        sale.top_ups[sale.sale_id, sku].append(quantity)

    async def end(self, sale: Sale) -> None:
        """Close it, for good; a sale that is settled has been closed."""
        await self._call(f"sales/{sale.sale_id}/close", {}, done=frozenset({"invalid_state"}))

    async def lose_the_store(self, sale: Sale, losses: int, seconds: float) -> None:
        """Everything in the store is gone; a while later the sale is rebuilt; ``losses`` times."""
        for _ in range(losses):
            await asyncio.sleep(seconds / (losses + 1))
            self._history.happens(LOSS)
            async with Redis.from_url(self._system.store.url) as redis:
                await redis.flushall()
            await asyncio.sleep(self._chance.uniform(0.0, 2.0))
            await self.rebuild(sale)
            self._history.happens(REBUILT)

    async def rebuild(self, sale: Sale, *, force: bool = False) -> None:
        """Until it is done; ``force`` for a sale that the store still has, but has wrong."""
        await self._call(
            f"sales/{sale.sale_id}/rebuild",
            {"force": force},
            again=REBUILD_AGAIN,
            timeout_seconds=REBUILD_TIMEOUT_SECONDS,
        )

    async def _call(
        self,
        path: str,
        body: dict[str, Any],
        again: frozenset[str] = frozenset(),
        done: frozenset[str] = frozenset(),
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    ) -> dict[str, Any]:
        """Repeated with its key until it has an answer that stands.

        What has a code of ``again`` is another call, later; one of ``done`` is as good as done.
        Raises ``NoAnswer`` when the service is not there for so long that it is not coming back.
        """
        headers = {"Authorization": f"Bearer {self.account.token}"}
        key = str(uuid.uuid4())
        url = f"{self._system.url}/v1/admin/{path}"
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            headers["Idempotency-Key"] = key
            with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                async with self._session.post(
                    url, json=body, headers=headers, timeout=timeout
                ) as answer:
                    told: dict[str, Any] = await answer.json()
                    if answer.status < 300 or told.get("code") in done:
                        return told
                    if told.get("code") in again:
                        key = str(uuid.uuid4())
                    elif answer.status < 500 and told.get("code") != "idempotency_in_flight":
                        raise AssertionError(f"{path}: {told}")
            await asyncio.sleep(PAUSE_SECONDS)
        raise NoAnswer(f"{path}: none in {PATIENCE_SECONDS:.0f} s")
