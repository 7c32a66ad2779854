"""One run: a sale under faults, then everything healed, drained and judged."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from flashorder.kernel.identifiers import shard_of
from tests.faults import crowd
from tests.faults.again import recheck
from tests.faults.breaking import Breaker
from tests.faults.bugs import BUGS
from tests.faults.checks import Verdict, judge
from tests.faults.clients import Buyer, Clients
from tests.faults.draining import Drain
from tests.faults.duties.staff import Staff
from tests.faults.history import History, HistoryFile, Outcome, accepted, read_history
from tests.faults.operating import Offer, Operator
from tests.faults.presenting import Presenting
from tests.faults.reading import read_overdue, read_snapshot, read_streams
from tests.faults.schedule import FREEZE_SECONDS_MAX, Fault, blows, plan
from tests.faults.shopping import Errand, Shopping, plan_errands
from tests.faults.snapshot import Snapshot
from tests.faults.system import Shape, System, running_system
from tests.faults.trimming import EarlyTrims
from tests.faults.walk import Walk
from tests.faults.walking import Walking

SKUS = ("85123A", "22423", "85099B", "47566")
SUPPLY = (0.35, 0.5, 0.8, 1.5)
"""Units of each SKU against what the errands want of it, roughly."""
PER_BUYER_LIMIT = 3
CALL_TIMEOUT_SECONDS = 3.0
SETTLE_TIMEOUT_SECONDS = 120.0
SETTLE_POLL_SECONDS = 0.1
DRAIN_PATIENCES = 2
UNITS_OF_A_WALK = 300
TOLD_ASKED_AGAIN_MAX = 200
ASKED_AGAIN_AT_ONCE = 32
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is; the same options give the same plan of faults and of errands."""

    seed: int
    faults: int = 20
    purchases: int = 1000
    journeys: int = 1000
    """How many of the purchases go on to pay, cancel, pay late, …: the rest is a crowd's."""
    seconds: float = 30.0
    longest_seconds: float = FREEZE_SECONDS_MAX
    window_seconds: int = 8
    patience_seconds: float = SETTLE_TIMEOUT_SECONDS
    """How long each phase after the faults is waited for; what is not done then is told."""
    losses: int = 0
    """How often the store loses everything; the operator then has the sale rebuilt."""
    trims: int = 0
    """How often the stream loses what nobody has read; the operator then has the sale rebuilt."""
    full_disks: bool = False
    """Whether disks are filled; where the shape has no small ones, such a fault hits nobody."""
    walk: tuple[int, int] | None = None
    """Walk the fail points: which part, from 0, of how many; the sale then lasts as long."""
    points: Sequence[str] = ()
    """Walk these instead."""
    shape: Shape = field(default_factory=Shape)

    @property
    def errands(self) -> int:
        """Purchases that are followed through."""
        return min(self.purchases, self.journeys)

    @property
    def crowd(self) -> int:
        """Purchases of people who only buy."""
        return self.purchases - self.errands


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
        self._operator = Operator(system, session, file, self._chance)
        self._tokens: dict[str, Buyer] = {}
        self._left: list[str] = []
        self.walk = self._planned_walk()
        self.breaker = Breaker(system, file, session)
        self._trims = EarlyTrims(system, self.breaker, self._operator, file, self._chance)
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
            small_disks=options.full_disks,
        )

    async def run(self) -> Snapshot:
        """Sell under faults, heal, settle, drain, do it all again, and look."""
        options = self._options
        buyers = self._newcomers(max(1, options.errands // 3))
        errands = plan_errands(options.seed, options.errands, options.seconds, buyers, SKUS)
        wishes = self._wishes()
        sale = await self._operator.open_sale(
            f"Chaos {options.seed}", self._offers(errands), options.window_seconds
        )
        clients = Clients(
            self._session, self._system.url, self._file, timeout_seconds=CALL_TIMEOUT_SECONDS
        )
        shopping = Shopping(
            clients, sale.sale_id, window_seconds=options.window_seconds, chance=self._chance
        )
        staff = Staff(
            self._system,
            self._session,
            clients,
            self._operator,
            self._newcomers,
            self._chance,
            sale,
            self._tokens,
        )
        presenting = Presenting(
            self._system,
            clients,
            shopping,
            sale.sale_id,
            self._tokens,
            self._file.path,
            self._chance,
        )
        await self.breaker.heal()
        self._say(f"{options.purchases} purchases under {len(self.faults)} faults")
        async with asyncio.TaskGroup() as group:
            group.create_task(shopping.run(errands))
            group.create_task(crowd.come(shopping, wishes))
            group.create_task(self.breaker.run(self.faults))
            group.create_task(self._operator.top_up(sale, options.seconds))
            losing = self._operator.lose_the_store(sale, options.losses, options.seconds)
            group.create_task(presenting.after(losing))
            group.create_task(self._trims.run(sale, options.trims, options.seconds))
        if self.walk is not None:
            walking = Walking(self.walk, staff, shopping, self.breaker, self._file, self._say)
            await walking.run()
        await self.breaker.heal()
        self._say("healed; settling")
        settled_seconds = await self._until(self._nothing_to_do)
        last = f", at last for {'; '.join(self._left)}" if self._left else ""
        self._say(f"settled after {settled_seconds:.1f} s{last}; asking again what had no answer")
        gone = await presenting.run()
        self._say(f"{gone} orders that were told of were not there: receipts presented")
        await self._resolve(shopping, sale.sale_id)
        drain = Drain(
            shopping,
            sale,
            self._system.shape.shards,
            self._newcomer,
            lambda: self._until(self._no_unit_can_come_back),
        )
        drained = await drain.run(DRAIN_PATIENCES * options.patience_seconds)
        await self._until(self._everything_ended)
        if staff.sales:  # closed beside the main one: they are settled by themselves
            await self._until(staff.all_settled)
        rechecks = await recheck(self._system, self._session, self._operator.account)
        await self._until(self._everything_ended)
        sales = (sale, *staff.sales)
        snapshot = await read_snapshot(
            self._system,
            self._session,
            initial={item: n for each in sales for item, n in each.initial.items()},
            top_ups={item: n for each in sales for item, n in each.top_ups.items()},
            settled_seconds=settled_seconds,
            demand_was_above_supply=drained,
        )
        snapshot.rechecks = rechecks
        snapshot.trims = self._trims.done
        snapshot.internal_errors = staff.internal_errors
        return snapshot

    def _planned_walk(self) -> Walk | None:
        options = self._options
        if options.walk is None:
            return None
        part, parts = options.walk
        folder = self._system.points_folder
        return Walk(folder, options.seed, part, parts, named=options.points)

    def _wishes(self) -> Iterator[crowd.Wish]:
        options = self._options
        buyers = self._newcomers(-(-options.crowd // 4))
        return crowd.plan_wishes(options.seed, options.crowd, options.seconds, buyers)

    def _offers(self, errands: list[Errand]) -> dict[str, Offer]:
        """What is in the sale: less than the errands want of some, more than of others."""
        wanted: defaultdict[str, int] = defaultdict(int)
        for errand in errands:
            wanted[errand.sku] += errand.quantity
        # Who walks has shoppers without end, and half of them should get something.
        more = UNITS_OF_A_WALK if self.walk else 4
        offers = {
            sku: Offer(int(wanted[sku] * share) + more, PER_BUYER_LIMIT)
            for sku, share in zip(SKUS, SUPPLY, strict=True)
        }
        options = self._options
        of_the_crowd = crowd.offers_for(options.crowd, options.seconds, options.window_seconds)
        return {**offers, **of_the_crowd}

    async def _resolve(self, shopping: Shopping, sale_id: str) -> None:
        """Every key without an answer is asked for again: now it gets one. Told ones as well.

        Of the main sale alone: what was beside it is over, and has forgotten its keys.
        """
        attempts = read_history(self._file.path).purchases()
        here = [each for each in attempts.values() if each[0].asked.subject == sale_id]
        open_keys = [each[0].asked for each in here if not _answered(each)]
        told = [each[0].asked for each in here if accepted(each)]
        again = iter((*open_keys, *self._chance.sample(told, min(len(told), TOLD_ASKED_AGAIN_MAX))))

        async def ask() -> None:
            for each in again:
                await shopping.ask(self._tokens[each.buyer], each.key, each.body)

        async with asyncio.TaskGroup() as group:
            for _ in range(ASKED_AGAIN_AT_ONCE):
                group.create_task(ask())
        self._say(f"{len(open_keys)} keys had no answer")

    def _newcomer(self, shard: int) -> Buyer:
        """A fresh buyer of that shard."""
        while True:
            (buyer,) = self._newcomers(1)
            if shard_of(uuid.UUID(buyer.buyer_id).bytes, self._system.shape.shards) == shard:
                return buyer

    def _newcomers(self, count: int) -> list[Buyer]:
        buyers = self._system.buyers(count)
        self._tokens.update((buyer.buyer_id, buyer) for buyer in buyers)
        return buyers

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
