"""One shopper of the first sale, over HTTP alone: waits, fires, retries, pays, watches."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp

from loadtest.pauses import pause_seconds, retry_after_seconds

RETRIED = frozenset({425, 429, 500, 502, 503, 504})
SOLD_OUT = frozenset({"sold_out", "sale_ended"})
ENDED = frozenset({"completed", "cancelled"})
BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)


class Pays(StrEnum):
    """What becomes of the payment."""

    APPROVES = "approves"
    DECLINED_THEN_APPROVES = "declined, then approves"
    DECLINED = "declined"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Plan:
    """Who the shopper is; ``skus`` in the order in which they are wanted."""

    skus: tuple[str, ...]
    quantity: int
    pays: Pays
    double_clicks: bool
    comes_back: bool


@dataclass(slots=True)
class Visit:
    """What happened to one shopper; times in seconds since the opening."""

    plan: Plan
    order_ids: list[str] = field(default_factory=list)
    double_order_ids: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    buy_latencies_seconds: list[float] = field(default_factory=list)
    accepted_at: float | None = None
    decided_at: float | None = None
    ended_at: float | None = None
    status: str = "watched"
    unanswered: bool = False


@dataclass(slots=True)
class Shop:
    """What all shoppers share; ``opening``, ``patience``, ``closing`` by time.monotonic().

    Who found everything sold out comes back until ``patience``; at ``closing`` all go home.
    """

    session: aiohttp.ClientSession
    url: str
    sale_id: str
    opening: float
    closing: float
    patience: float
    poll_seconds: float
    accepted: Counter[str] = field(default_factory=Counter)
    accepted_at: list[float] = field(default_factory=list)
    on_accepted: asyncio.Event = field(default_factory=asyncio.Event)

    def since_opening(self) -> float:
        """Seconds."""
        return time.monotonic() - self.opening

    @property
    def worth_coming_back(self) -> bool:
        """Whether units that somebody has not paid for may still return."""
        return time.monotonic() < self.patience

    @property
    def over(self) -> bool:
        """Whether shoppers should go home."""
        return time.monotonic() >= self.closing


class Shopper:
    """``token`` says who; ``chance`` is the shopper's own, so that a run can be repeated."""

    def __init__(self, shop: Shop, token: str, plan: Plan, chance: random.Random) -> None:
        self._shop = shop
        self._headers = {"Authorization": f"Bearer {token}"}
        self._chance = chance
        self.visit = Visit(plan)

    async def go(self) -> Visit:
        """The whole visit."""
        await self._look()
        await asyncio.sleep(max(0.0, -self._shop.since_opening()))
        order = await self._buy_something()
        while order is None and self.visit.plan.comes_back and self._shop.worth_coming_back:
            await asyncio.sleep(self._chance.uniform(2.0, 4.0))
            if await self._something_is_left():
                order = await self._buy_something()
        self.visit.decided_at = self._shop.since_opening()
        if order is None:
            self.visit.status = "left without"
            return self.visit
        await self._pay(order)
        await self._watch(order)
        return self.visit

    async def _look(self) -> None:
        """Look at the sale before it opens; this also opens the connection."""
        await asyncio.sleep(self._chance.uniform(0.0, max(0.0, -self._shop.since_opening() - 1.0)))
        await self._call("GET", f"/v1/sales/{self._shop.sale_id}")

    async def _something_is_left(self) -> bool:
        answer = await self._call("GET", f"/v1/sales/{self._shop.sale_id}")
        items = answer[1].get("items", []) if answer else []
        return any(item["sku"] in self.visit.plan.skus and not item["sold_out"] for item in items)

    async def _buy_something(self) -> str | None:
        for sku in self.visit.plan.skus:
            key = uuid.UUID(int=self._chance.getrandbits(128)).hex
            clicks = [self._buy(sku, key)]
            if self.visit.plan.double_clicks:
                clicks.append(self._buy(sku, key))
            found = [order for order in await asyncio.gather(*clicks) if order]
            if not found:
                continue
            if len(clicks) > 1:
                self.visit.double_order_ids += found
            if found[0] not in self.visit.order_ids:
                self.visit.order_ids.append(found[0])
                self._note_accepted(sku)
            return found[0]
        return None

    def _note_accepted(self, sku: str) -> None:
        shop = self._shop
        self.visit.accepted_at = shop.since_opening()
        shop.accepted[sku] += self.visit.plan.quantity
        shop.accepted_at.append(self.visit.accepted_at)
        shop.on_accepted.set()

    async def _buy(self, sku: str, key: str) -> str | None:
        """One click, repeated with the same key until it has an answer."""
        body = {"sku": sku, "quantity": self.visit.plan.quantity}
        answer = await self._call(
            "POST",
            f"/v1/sales/{self._shop.sale_id}/orders",
            body,
            key,
            latencies=self.visit.buy_latencies_seconds,
        )
        if answer is None:
            self.visit.unanswered = True
            return None
        status, problem = answer
        if status == 202:
            return str(problem["order_id"])
        self.visit.refusals[problem.get("code", str(status))] += 1
        return None

    async def _pay(self, order: str) -> None:
        decisions = {
            Pays.APPROVES: ["approve"],
            Pays.DECLINED_THEN_APPROVES: ["decline", "approve"],
            Pays.DECLINED: ["decline"],
            Pays.NEVER: [],
        }[self.visit.plan.pays]
        await asyncio.sleep(self._chance.uniform(0.2, 2.0))
        for number, decision in enumerate(decisions):
            if number:
                await asyncio.sleep(self._chance.uniform(0.5, 1.5))
            started = await self._call(
                "POST",
                f"/v1/orders/{order}/payments",
                {"provider": "simulator"},
                f"{order}-{number}",
            )
            if started is None or started[0] != 201 or not started[1].get("action"):
                return  # expired meanwhile, or the provider is away: the shopper gives up
            url = f"{started[1]['action']['url']}/decision"
            await self._call("POST", url, {"decision": decision}, absolute=True)

    async def _watch(self, order: str) -> None:
        """Look at the order until it has come to an end."""
        while not self._shop.over:
            answer = await self._call("GET", f"/v1/orders/{order}")
            if answer and answer[0] == 200:
                self.visit.status = answer[1]["status"]
                if self.visit.status in ENDED:
                    self.visit.ended_at = self._shop.since_opening()
                    return
            await asyncio.sleep(self._shop.poll_seconds * self._chance.uniform(0.7, 1.3))

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        key: str | None = None,
        *,
        absolute: bool = False,
        latencies: list[float] | None = None,
    ) -> tuple[int, dict[str, Any]] | None:
        """An answer that stands; None when the shop closed before there was one."""
        headers = {} if absolute else {**self._headers}
        if key is not None:
            headers["Idempotency-Key"] = key
        url = path if absolute else f"{self._shop.url}{path}"
        backoff_seconds = BACKOFF_SECONDS_MIN
        while not self._shop.over:
            began = time.monotonic()
            asked_seconds = 0.0
            try:
                async with self._shop.session.request(
                    method, url, json=body, headers=headers, timeout=REQUEST_TIMEOUT
                ) as response:
                    content = await response.json(content_type=None)
                    if response.status not in RETRIED:
                        if latencies is not None:
                            latencies.append(time.monotonic() - began)
                        return response.status, content or {}
                    self.visit.retries[str((content or {}).get("code", response.status))] += 1
                    asked_seconds = retry_after_seconds(response.headers)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self.visit.retries[type(error).__name__] += 1
            wait_seconds = pause_seconds(backoff_seconds, asked_seconds, self._chance)
            await asyncio.sleep(min(wait_seconds, max(0.0, self._shop.closing - time.monotonic())))
            backoff_seconds = min(BACKOFF_SECONDS_MAX, backoff_seconds * 2)
        return None
