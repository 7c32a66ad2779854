"""Rebuild a sale that the front has lost: a new generation, filled while it is paused.

Each step may be made again, so a run that died anywhere is carried on by the next one. The
generation is the fence: what another run has begun above this one refuses every further step here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import asyncpg
import structlog
from redis.asyncio import Redis

from flashorder.fencing.service import Fencing
from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.errors import Conflict, InvalidState
from flashorder.kernel.identifiers import shard_of
from flashorder.rebuilding.records import purchase_of_dead_letter, purchase_of_order
from flashorder.rebuilding.streams import until_applied
from flashorder.reservations.ports import Holds
from flashorder.sales import store
from flashorder.sales.convergence import front_sale
from flashorder.sales.front import OpenOutcome, RestoredPurchase, RestoreOutcome, SaleFront
from flashorder.sales.model import LIVE, Sale, SaleStatus
from flashorder.sales.service import SalesService
from flashorder.settings import Settings

log = structlog.get_logger(__name__)
_SQL = load_sql("flashorder.rebuilding")
CHUNK_PURCHASES = 500
TOP_UPS_PER_ROUND = 500
ROUNDS_MAX = 20
ROUND_PAUSE_SECONDS = 0.25
FIRST_ID = uuid.UUID(int=0)
REBUILDABLE = LIVE | {SaleStatus.CLOSED}


class Step(StrEnum):
    """Where a rebuild is."""

    DRAINING = "waiting for the consumers"
    OPENING = "opening the new generation"
    ORDERS = "restoring orders"
    DEAD_LETTERS = "restoring dead letters"
    RELEASES = "repeating releases"
    DONE = "done"


Progress = Callable[[Step, int], None]
"""Called with the step, and how many of its things are done."""


def _silent(_step: Step, _done: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The sale afterwards; ``restored`` is the purchases that this run put back."""

    sale: Sale
    restored: int


@dataclass(frozen=True, slots=True)
class _Source:
    """Rows that purchases are restored from, read in pages by a key; None: nothing to restore."""

    step: Step
    statement: str
    first: Any
    key_of: Callable[[asyncpg.Record], Any]
    purchase_of: Callable[[asyncpg.Record], RestoredPurchase | None]


# Orders first: the token of a dead letter that became an order after all is the order's.
_SOURCES = (
    _Source(
        Step.ORDERS,
        "purchases_of_sale",
        FIRST_ID,
        lambda row: row["order_id"],
        purchase_of_order,
    ),
    _Source(
        Step.DEAD_LETTERS,
        "dead_letters_of_sale",
        FIRST_ID,
        lambda row: row["dead_letter_id"],
        purchase_of_dead_letter,
    ),
)


class Rebuilding:
    """Rebuilds sales. Raises ``StoreUnavailable``, ``DatabaseUnavailable`` when a store is away."""

    def __init__(
        self,
        pool: Pool,
        redis: Redis,
        front: SaleFront,
        sales: SalesService,
        holds: Holds,
        fencing: Fencing,
        settings: Settings,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._front = front
        self._sales = sales
        self._holds = holds
        self._fencing = fencing
        self._shards = settings.shards
        self._drain_timeout_seconds = settings.rebuild_drain_timeout_seconds

    async def rebuild(
        self, sale_id: uuid.UUID, *, force: bool = False, progress: Progress = _silent
    ) -> Rebuilt:
        """Give the front back what it should have of the sale, then let the sale go on.

        ``InvalidState`` for a sale that is not at the front at all; ``Conflict`` otherwise:
        ``sale_at_front`` when it is not lost and nobody insists (``force``),
        ``intents_not_applied``, ``rebuild_overtaken`` by another run or another loss,
        ``rebuild_incomplete``. Each but the first two leaves the sale paused at the front; the
        same call carries on.
        """
        # A store that nobody has found behind yet must not be filled beside what it still sells.
        servers = await self._fencing.settle_all()
        sale = await self._begun(await self._sales.get(sale_id), force, progress)
        progress(Step.OPENING, 0)
        await self._open(sale)
        # The new generation takes no purchase of the old one any more: what is in the streams now
        # is all that there will ever be of it.
        await self._drain(progress)
        restored = await self._fill(sale, progress)
        await self._fencing.mark(servers)
        if not await self._sales.finish_generation(sale):
            await self._check_finished(sale)
        log.warning(
            "sale_rebuilt", sale_id=str(sale_id), generation=sale.generation, restored=restored
        )
        progress(Step.DONE, restored)
        return Rebuilt(await self._sales.get(sale_id), restored)

    async def _begun(self, sale: Sale, force: bool, progress: Progress) -> Sale:
        """The sale in the generation that is to be filled: begun now, or by a run that died."""
        if sale.status not in REBUILDABLE:
            raise InvalidState(f"a sale that is {sale.status} is not at the front")
        at_front = await self._sales.is_at_front(sale)
        if sale.rebuilding and at_front:
            return sale
        if at_front and not force:
            raise Conflict("the front has not lost this sale", code="sale_at_front")
        await self._drain(progress)
        if not await self._sales.begin_generation(sale):
            raise _overtaken()
        return await self._sales.get(sale.sale_id)

    async def _open(self, sale: Sale) -> None:
        """The new generation with its whole stock, paused; top-ups by their ids, as ever."""
        # One revision below the present, so that finishing brings it to its real state.
        before = replace(front_sale(sale), revision=sale.revision - 1)
        if await self._front.open_to_fill(before) is OpenOutcome.STALE_GENERATION:
            raise _overtaken()
        while waiting := await store.unapplied_top_ups(self._pool, sale.sale_id, TOP_UPS_PER_ROUND):
            for top_up in waiting:
                if top_up.generation != sale.generation or not await self._sales.convergence.apply(
                    top_up
                ):
                    raise _overtaken()

    async def _drain(self, progress: Progress) -> None:
        progress(Step.DRAINING, 0)
        await until_applied(self._redis, self._shards, self._drain_timeout_seconds)

    async def _fill(self, sale: Sale, progress: Progress) -> int:
        """Restore until the front holds what PostgreSQL says is held; how many purchases.

        Orders go on living meanwhile: one is cancelled and given back before it was restored, one
        comes late out of a consumer's hands. A further round finds them.
        """
        restored = 0
        for _ in range(ROUNDS_MAX):
            for source in _SOURCES:
                restored += await self._restore(sale, source, progress)
            await self._release_again(sale, progress)
            if await self._agrees(sale):
                return restored
            await asyncio.sleep(ROUND_PAUSE_SECONDS)
        raise Conflict(
            "the front does not hold what PostgreSQL says is held: let cancellations land, then "
            "go on",
            code="rebuild_incomplete",
            retry_after_seconds=1.0,
        )

    async def _restore(self, sale: Sale, source: _Source, progress: Progress) -> int:
        restored = seen = 0
        async for rows in self._pages(source.statement, source.first, source.key_of, sale.sale_id):
            by_shard: defaultdict[int, list[RestoredPurchase]] = defaultdict(list)
            for row in rows:
                purchase = source.purchase_of(row)
                if purchase is not None:
                    by_shard[shard_of(purchase.buyer_id, self._shards)].append(purchase)
            for shard, purchases in by_shard.items():
                restored += await self._restore_chunk(sale, shard, purchases)
            seen += len(rows)
            progress(source.step, seen)
        return restored

    async def _restore_chunk(
        self, sale: Sale, shard: int, purchases: Sequence[RestoredPurchase]
    ) -> int:
        outcome, restored, _ = await self._front.restore(
            sale.sale_id, sale.generation, shard, purchases
        )
        if outcome is not RestoreOutcome.RESTORED:
            raise _overtaken()
        return restored

    async def _release_again(self, sale: Sale, progress: Progress) -> None:
        """What was given back while the front did not know it yet; a release counts once."""
        done = 0
        async for rows in self._pages(
            "released_since",
            FIRST_ID,
            lambda row: row["order_id"],
            sale.sale_id,
            sale.rebuilding_since,
        ):
            for row in rows:
                await self._holds.release(
                    sale.sale_id, row["order_id"], row["buyer_id"], row["hold"]
                )
            done += len(rows)
            progress(Step.RELEASES, done)

    async def _agrees(self, sale: Sale) -> bool:
        """Whether the front's units sold are those held in PostgreSQL.

        A dead letter may hold none: it is one because there was nothing left.
        """
        sold: Counter[str] = Counter()
        for shard in await self._front.snapshot(sale.sale_id):
            sold.update(shard.sold)
        with database_failures():
            rows = await self._pool.fetch(_SQL["held_units"], sale.sale_id)
        return all(
            row["orders"] <= sold[row["sku"]] <= row["orders"] + row["dead_letters"] for row in rows
        )

    async def _check_finished(self, sale: Sale) -> None:
        now = await self._sales.get(sale.sale_id)
        if now.generation != sale.generation or now.rebuilding:
            raise _overtaken()

    async def _pages(
        self, statement: str, after: Any, key_of: Callable[[asyncpg.Record], Any], *arguments: Any
    ) -> AsyncIterator[Sequence[asyncpg.Record]]:
        """Pages of a statement whose last two parameters are the key to go on from, and a limit."""
        while True:
            with database_failures():
                rows = await self._pool.fetch(_SQL[statement], *arguments, after, CHUNK_PURCHASES)
            if rows:
                yield rows
            if len(rows) < CHUNK_PURCHASES:
                return
            after = key_of(rows[-1])


def _overtaken() -> Conflict:
    return Conflict(
        "another rebuild of this sale has begun or ended, or the front has lost it again: look at "
        "the sale, then call again",
        code="rebuild_overtaken",
    )
