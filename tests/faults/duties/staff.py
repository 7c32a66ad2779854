"""Who does the work that shoppers do not: calls that may fail, and rounds that go on regardless."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.faults.checks.quiet import INTERNAL_ERROR
from tests.faults.clients import Buyer, Clients
from tests.faults.operating import Offer, Operator, Sale
from tests.faults.shopping import Shopping, plan_errands
from tests.faults.system import System

CALL_TIMEOUT_SECONDS = 4.0
POLL_SECONDS = 0.1
COUNTER_UNITS, COUNTER_WINDOW_SECONDS = 5_000, 8
SKUS = ("85123A", "22423")
AWAY = (OSError, TimeoutError, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What it looks like when a store is down."""
Round = Callable[["Staff"], Awaitable[None]]


class Interrupted(Exception):
    """What was to be done could not be; the next round begins anew."""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: ``status`` 0 for none, ``body`` its JSON."""

    status: int
    body: Any
    etag: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return 200 <= self.status < 300

    def must(self) -> Told:
        """Itself, if it was done; else ``Interrupted``."""
        if not self.ok:
            raise Interrupted(f"{self.status} {self.body}")
        return self


@dataclass(slots=True)
class Staff:
    """A desk of its own for each round, in one house. ``newcomers`` makes buyers with tokens."""

    system: System
    session: aiohttp.ClientSession
    clients: Clients
    operator: Operator
    newcomers: Callable[[int], list[Buyer]]
    chance: random.Random
    main_sale: Sale
    known: dict[str, Buyer]
    """Everybody who may have bought, by id: they are asked again at the end."""
    sales: list[Sale] = field(default_factory=list)
    """Those that were opened beside the main one."""
    rounds_done: dict[str, int] = field(default_factory=dict)
    internal_errors: list[str] = field(default_factory=list)
    _counter: Sale | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def rounds_missing(self) -> list[str]:
        """The duties that have not come to the end of a round yet."""
        return sorted(name for name, done in self.rounds_done.items() if not done)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        by: Buyer | None = None,
        headers: dict[str, str] | None = None,
    ) -> Told:
        """As the operator, unless somebody else is named; a POST with a key of its own."""
        sent = {"Authorization": f"Bearer {(by or self.operator.account).token}"}
        if method == "POST":
            sent["Idempotency-Key"] = uuid.uuid4().hex
        url = f"{self.system.url}/v1/{path}"
        content = body if isinstance(body, bytes) else None
        try:
            async with (
                asyncio.timeout(CALL_TIMEOUT_SECONDS),
                self.session.request(
                    method,
                    url,
                    json=None if content is not None else body,
                    data=content,
                    headers=sent | (headers or {}),
                ) as answer,
            ):
                raw = await answer.read()
                is_json = "json" in answer.headers.get("Content-Type", "")
                told = msgspec.json.decode(raw) if is_json and raw else None
                if answer.status == INTERNAL_ERROR:
                    self.internal_errors.append(f"{method} {path}: {told}")
                return Told(answer.status, told, answer.headers.get("ETag", ""))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return Told(0, None)

    async def have_manners(self, simulator: str, knobs: dict[str, float]) -> None:
        """Tell a simulator how to behave, if it is there."""
        url = f"{self.system.simulator_urls[simulator]}/control"
        timeout = aiohttp.ClientTimeout(total=2.0)
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self.session.put(
                url, data=msgspec.json.encode(knobs), timeout=timeout
            ) as answer:
                await answer.read()

    async def side_sale(self, units: int, window_seconds: int = 4) -> Sale:
        """A small sale of two SKUs, open; it counts in the checks like the main one."""
        offers = {sku: Offer(units, 2) for sku in SKUS}
        sale = await self.operator.open_sale("Beside", offers, window_seconds)
        self.sales.append(sale)
        return sale

    async def counter(self) -> Sale:
        """The sale that everybody buys in who only wants an order to work with; never sold out."""
        async with self._opening:
            if self._counter is None:
                self._counter = await self.side_sale(COUNTER_UNITS, COUNTER_WINDOW_SECONDS)
            return self._counter

    async def all_settled(self) -> bool:
        """Whether nothing beside the main sale waits to be settled."""
        rows = await self.surely("SELECT FROM sales WHERE status = 'closed'")
        return not rows

    async def shop(self, sale: Sale, errands: int) -> None:
        """So many errands in it, each by somebody new, who clicks once; done when all are home."""
        shopping = Shopping(self.clients, sale.sale_id, window_seconds=4, chance=self.chance)
        seed = self.chance.getrandbits(32)
        planned = plan_errands(seed, errands, 0.0, self.newcomers(errands), tuple(sale.offers))
        await asyncio.gather(*(shopping.go(replace(each, clicks=1)) for each in planned))

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection past the service; ``Interrupted`` when there is none to be had."""
        try:
            connection = await asyncpg.connect(self.system.database.url, timeout=5.0)
        except AWAY as error:
            raise Interrupted(repr(error)) from None
        try:
            yield connection
        finally:
            with suppress(Exception):
                await connection.close(timeout=2.0)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Redis]:
        """The same of the store."""
        async with Redis.from_url(self.system.store.url, socket_timeout=2.0) as redis:
            yield redis

    async def surely(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows of a statement that may be made again; tried until the database has done it.

        ``Interrupted`` when it will not.
        """
        while True:
            try:
                async with self.database() as connection:
                    return list(await connection.fetch(statement, *arguments))
            except asyncpg.IntegrityConstraintViolationError as refusal:
                raise Interrupted(repr(refusal)) from None
            except (Interrupted, *AWAY):
                await asyncio.sleep(POLL_SECONDS)

    async def promise(self, sale: Sale, sku: str, units: int) -> None:
        """Let PostgreSQL say that so many were allotted, and the front know nothing of it."""
        await self.surely(
            "UPDATE sale_items SET allotted = $3 WHERE sale_id = $1 AND sku = $2",
            uuid.UUID(sale.sale_id),
            sku,
            units,
        )

    async def end_all(self) -> None:
        """Close what is still open beside the main sale."""
        for row in await self.surely(
            "SELECT sale_id FROM sales WHERE status IN ('scheduled', 'open', 'paused')"
        ):
            for sale in self.sales:
                if sale.sale_id == str(row["sale_id"]):
                    await self.operator.end(sale)

    async def until(
        self, holds: Callable[[], Awaitable[bool]], timeout_seconds: float = 15.0
    ) -> None:
        """Return once it ``holds``; ``Interrupted`` after too long."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not await holds():
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise Interrupted("it never came about") from None
