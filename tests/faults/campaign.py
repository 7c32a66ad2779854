"""One run: a sale under faults, then everything healed, drained and judged."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from flashorder.kernel.identifiers import shard_of
from tests.faults.again import recheck
from tests.faults.breaking import Breaker
from tests.faults.bugs import BUGS
from tests.faults.checks import Verdict, judge
from tests.faults.clients import Buyer, Clients
from tests.faults.history import (
    LOSS,
    REBUILT,
    History,
    HistoryFile,
    Outcome,
    accepted,
    read_history,
)
from tests.faults.reading import read_overdue, read_snapshot, read_streams
from tests.faults.schedule import FREEZE_SECONDS_MAX, Fault, blows, plan
from tests.faults.shopping import Errand, Fate, Shopping, plan_errands
from tests.faults.snapshot import Snapshot
from tests.faults.system import Shape, System, running_system
from tests.faults.walk import Walk

SKUS = ("85123A", "22423", "85099B", "47566")
SUPPLY = (0.35, 0.5, 0.8, 1.5)
"""Units of each SKU against what the errands want of it, roughly."""
PER_BUYER_LIMIT = 3
CALL_TIMEOUT_SECONDS = 3.0
SETTLE_TIMEOUT_SECONDS = 120.0
SETTLE_POLL_SECONDS = 0.1
DRAIN_PATIENCES = 2
SHOPPERS_OF_A_WALK = 12
UNITS_OF_A_WALK = 300
REBUILD_AGAIN = frozenset({"intents_not_applied", "rebuild_incomplete", "rebuild_overtaken"})
REBUILD_TIMEOUT_SECONDS = 60.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is; the same options give the same plan of faults and of errands."""

    seed: int
    faults: int = 20
    purchases: int = 1000
    seconds: float = 30.0
    longest_seconds: float = FREEZE_SECONDS_MAX
    window_seconds: int = 8
    patience_seconds: float = SETTLE_TIMEOUT_SECONDS
    """How long each phase after the faults is waited for; what is not done then is told."""
    losses: int = 0
    """How often the store loses everything; the operator then has the sale rebuilt."""
    walk: tuple[int, int] | None = None
    """Walk the fail points: which part, from 0, of how many; the sale then lasts as long."""
    shape: Shape = field(default_factory=Shape)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it."""

    options: Options
    history: History
    snapshot: Snapshot
    verdicts: list[Verdict]
    planned: list[Fault]
    missed: list[Fault]
    walk: Walk | None = None

    @property
    def holds(self) -> bool:
        """Whether no check was violated."""
        return not any(verdict.violations for verdict in self.verdicts)


@dataclass(slots=True)
class Sale:
    """The sale, and what the operator gave to it by (sale, SKU)."""

    sale_id: str
    initial: dict[tuple[str, str], int]
    top_ups: defaultdict[tuple[str, str], list[int]]


async def run(options: Options, folder: Path, say: Say) -> Run:
    """Run it in ``folder``, which keeps ``history.jsonl`` and ``snapshot.json``."""
    history_path = folder / "history.jsonl"
    say(f"seed {options.seed}")
    async with running_system(folder / "data", options.shape) as system:
        with HistoryFile(history_path) as file:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                campaign = Campaign(options, system, session, file, say)
                snapshot = await campaign.run()
    history = read_history(history_path)
    (folder / "snapshot.json").write_bytes(msgspec.json.encode(snapshot))
    verdicts = judge(history, snapshot)
    return Run(
        options,
        history,
        snapshot,
        verdicts,
        campaign.faults,
        campaign.breaker.missed,
        campaign.walk,
    )


class Campaign:
    """The phases of a run on a system that is up."""

    def __init__(
        self,
        options: Options,
        system: System,
        session: aiohttp.ClientSession,
        file: HistoryFile,
        say: Say,
    ) -> None:
        self._options = options
        self._system = system
        self._session = session
        self._file = file
        self._say = say
        self._chance = random.Random(f"campaign/{options.seed}")
        self._operator = system.operator()
        self._buyers = system.buyers(max(1, options.purchases // 3))
        self._left: list[str] = []
        self._tokens = {buyer.buyer_id: buyer for buyer in self._buyers}
        self.walk = self._planned_walk()
        self.breaker = Breaker(system, file, session)
        planted = BUGS[options.shape.bug].blows if options.shape.bug else ()
        # Those who pay late are still about when the last errand has begun: so are the faults.
        seconds = options.seconds + options.window_seconds
        self.faults = blows(planted, seconds) or plan(
            options.seed,
            options.faults,
            seconds,
            system.targets,
            sorted(system.links),
            longest_seconds=options.longest_seconds,
        )

    async def run(self) -> Snapshot:
        """Sell under faults, heal, settle, drain, do it all again, and look."""
        options = self._options
        errands = plan_errands(options.seed, options.purchases, options.seconds, self._buyers, SKUS)
        sale = await self._open_sale(errands)
        clients = Clients(
            self._session, self._system.url, self._file, timeout_seconds=CALL_TIMEOUT_SECONDS
        )
        shopping = Shopping(
            clients, sale.sale_id, window_seconds=options.window_seconds, chance=self._chance
        )
        await self.breaker.heal()
        self._say(f"{len(errands)} purchases under {len(self.faults)} faults")
        async with asyncio.TaskGroup() as group:
            group.create_task(shopping.run(errands))
            group.create_task(self.breaker.run(self.faults))
            group.create_task(self._top_up(sale))
            group.create_task(self._lose_the_store(sale))
        if self.walk is not None:
            await self._walk(self.walk, shopping)
        await self.breaker.heal()
        self._say("healed; settling")
        settled_seconds = await self._until(self._nothing_to_do)
        last = f", at last for {'; '.join(self._left)}" if self._left else ""
        self._say(f"settled after {settled_seconds:.1f} s{last}; asking again what had no answer")
        await self._resolve(shopping)
        drained = await self._drain(shopping, sale)
        await self._until(self._everything_ended)
        rechecks = await recheck(self._system, self._session, self._operator)
        await self._until(self._everything_ended)
        snapshot = await read_snapshot(
            self._system,
            self._session,
            initial=sale.initial,
            top_ups=sale.top_ups,
            settled_seconds=settled_seconds,
            demand_was_above_supply=drained,
        )
        snapshot.rechecks = rechecks
        return snapshot

    def _planned_walk(self) -> Walk | None:
        if self._options.walk is None:
            return None
        part, parts = self._options.walk
        return Walk(self._system.points_folder, self._options.seed, part, parts)

    async def _walk(self, walk: Walk, shopping: Shopping) -> None:
        """Shoppers without end while the points that the errands have shown are walked."""
        self._say(f"{len(walk.sites())} sites seen; walking part {walk.part + 1} of {walk.parts}")
        crowds = [asyncio.create_task(self._shop_on(shopping)) for _ in range(SHOPPERS_OF_A_WALK)]
        try:
            await walk.run(self._file)
        finally:
            for crowd in crowds:
                crowd.cancel()
            await asyncio.gather(*crowds, return_exceptions=True)

    async def _shop_on(self, shopping: Shopping) -> None:
        """One errand after the other, by fresh buyers now and then."""
        while True:
            (buyer,) = self._system.buyers(1)
            self._tokens[buyer.buyer_id] = buyer
            seed = self._chance.getrandbits(32)
            for errand in plan_errands(seed, 3, 0.0, [buyer], SKUS):
                await shopping.go(errand)

    async def _open_sale(self, errands: list[Errand]) -> Sale:
        wanted: defaultdict[str, int] = defaultdict(int)
        for errand in errands:
            wanted[errand.sku] += errand.quantity
        # Who walks has shoppers without end, and half of them should get something.
        more = UNITS_OF_A_WALK if self.walk else 4
        units = {
            sku: int(wanted[sku] * share) + more for sku, share in zip(SKUS, SUPPLY, strict=True)
        }
        now = datetime.now(UTC)
        created = await self._admin(
            "sales",
            {
                "title": f"Chaos {self._options.seed}",
                "starts_at": (now - timedelta(minutes=1)).isoformat(),
                "ends_at": (now + timedelta(hours=12)).isoformat(),
                "payment_window_seconds": self._options.window_seconds,
                "items": [
                    {
                        "sku": sku,
                        "quantity": quantity,
                        "unit_price": {"amount": 199 + 100 * n, "currency": "GBP"},
                        "per_buyer_limit": PER_BUYER_LIMIT,
                    }
                    for n, (sku, quantity) in enumerate(units.items())
                ],
            },
        )
        sale_id = str(created["sale_id"])
        await self._admin(f"sales/{sale_id}/open", {})
        initial = {(sale_id, sku): quantity for sku, quantity in units.items()}
        return Sale(sale_id, initial, defaultdict(list))

    async def _top_up(self, sale: Sale) -> None:
        """Two of them in the middle of it; asked for until they are answered."""
        for n in (1, 2):
            await asyncio.sleep(self._options.seconds / 3)
            quantity = self._chance.randint(3, 9)
            await self._admin(
                f"sales/{sale.sale_id}/top-up", {"sku": SKUS[n - 1], "quantity": quantity}
            )
            sale.top_ups[sale.sale_id, SKUS[n - 1]].append(quantity)

    async def _lose_the_store(self, sale: Sale) -> None:
        """Everything in the store is gone; a while later an operator has the sale rebuilt."""
        for _ in range(self._options.losses):
            await asyncio.sleep(self._options.seconds / (self._options.losses + 1))
            self._file.happens(LOSS)
            async with Redis.from_url(self._system.store.url) as redis:
                await redis.flushall()
            await asyncio.sleep(self._chance.uniform(0.0, 2.0))
            await self._admin(
                f"sales/{sale.sale_id}/rebuild",
                {},
                again=REBUILD_AGAIN,
                timeout_seconds=REBUILD_TIMEOUT_SECONDS,
            )
            self._file.happens(REBUILT)

    async def _admin(
        self,
        path: str,
        body: dict[str, Any],
        again: frozenset[str] = frozenset(),
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    ) -> dict[str, Any]:
        """A call of the operator, repeated with its key until it has an answer that stands.

        What has a code of ``again`` is another call, later.
        """
        headers = {"Authorization": f"Bearer {self._operator.token}"}
        key = str(uuid.uuid4())
        url = f"{self._system.url}/v1/admin/{path}"
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        while True:
            headers["Idempotency-Key"] = key
            with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                async with self._session.post(
                    url, json=body, headers=headers, timeout=timeout
                ) as answer:
                    told: dict[str, Any] = await answer.json()
                    if answer.status < 300:
                        return told
                    if told.get("code") in again:
                        key = str(uuid.uuid4())
                    elif answer.status < 500 and told.get("code") != "idempotency_in_flight":
                        raise AssertionError(f"{path}: {told}")
            await asyncio.sleep(0.5)

    async def _resolve(self, shopping: Shopping) -> None:
        """Every key without an answer is asked for again: now it gets one. Told ones as well."""
        attempts = read_history(self._file.path).purchases()
        open_keys = [each for each in attempts.values() if not _answered(each)]
        told = [each for each in attempts.values() if accepted(each)]
        for each in (*open_keys, *self._chance.sample(told, min(len(told), 200))):
            asked = each[0].asked
            await shopping.ask_again(self._tokens[asked.buyer], asked.key, asked.body)
        self._say(f"{len(open_keys)} keys had no answer")

    async def _drain(self, shopping: Shopping, sale: Sale) -> bool:
        """Fresh buyers buy and pay until every shard refuses each SKU as sold out, for good."""
        deadline = time.monotonic() + DRAIN_PATIENCES * self._options.patience_seconds
        while time.monotonic() < deadline:
            await self._until(self._no_unit_can_come_back)
            refusals = await asyncio.gather(
                *(self._drain_item(shopping, sku, shard, deadline)
                  for sku in SKUS for shard in range(self._system.shape.shards))
            )  # fmt: skip
            if all(refusals):
                return True
        return False

    async def _drain_item(self, shopping: Shopping, sku: str, shard: int, deadline: float) -> bool:
        """Whether the first buyer of the round was refused already."""
        first = True
        while time.monotonic() < deadline:
            buyer = self._buyer_of(shard)
            for quantity in (PER_BUYER_LIMIT, 1):
                key = uuid.uuid4().hex
                errand = Errand(0.0, buyer, sku, quantity, key, Fate.PAYS, 1)
                call = await shopping.go(errand)
                if call.outcome is Outcome.OK:
                    break
            else:
                if call.code == "sold_out":
                    return first
                await asyncio.sleep(0.2)
            first = False
        return False

    def _buyer_of(self, shard: int) -> Buyer:
        while True:
            (buyer,) = self._system.buyers(1)
            if shard_of(uuid.UUID(buyer.buyer_id).bytes, self._system.shape.shards) == shard:
                self._tokens[buyer.buyer_id] = buyer
                return buyer

    async def _until(self, quiet: Callable[[], Any]) -> float:
        """Seconds until it was ``quiet``, or until patience ended: the checks will tell."""
        began = time.monotonic()
        while time.monotonic() - began < self._options.patience_seconds:
            with suppress(OSError, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if await quiet():
                    break
            await asyncio.sleep(SETTLE_POLL_SECONDS)
        return time.monotonic() - began

    async def _nothing_to_do(self) -> bool:
        connection = await asyncpg.connect(self._system.database.url, timeout=5.0)
        try:
            overdue = await read_overdue(connection)
        finally:
            await connection.close()
        async with Redis.from_url(self._system.store.url) as redis:
            streams = await read_streams(redis, self._system.shape.shards)
        left = [f"{each.what}: {each.count}" for each in overdue if each.count]
        left += [
            f"shard {s.shard}: {s.pending} pending, {s.unread} unread"
            for s in streams
            if s.pending or s.unread
        ]
        self._left = left or self._left
        return not left

    async def _no_unit_can_come_back(self) -> bool:
        """No order waits for its payment, and no cancelled one has its units still."""
        connection = await asyncpg.connect(self._system.database.url, timeout=5.0)
        try:
            waiting: int = await connection.fetchval(
                "SELECT count(*) FROM orders WHERE status = 'pending_payment' "
                "OR (status = 'cancelled' AND released_at IS NULL)"
            )
        finally:
            await connection.close()
        async with Redis.from_url(self._system.store.url) as redis:
            streams = await read_streams(redis, self._system.shape.shards)
        return not waiting and not any(each.pending or each.unread for each in streams)

    async def _everything_ended(self) -> bool:
        """And nothing else is going on either."""
        return await self._no_unit_can_come_back() and await self._nothing_to_do()


def _answered(attempts: list[Any]) -> bool:
    """Whether a key needs no more asking: told of an order, or nothing but refused."""
    return bool(accepted(attempts)) or all(call.outcome is Outcome.REFUSED for call in attempts)
