"""The scripts that open, change, top up, read and restore a sale at the front."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

from redis.asyncio import Redis

from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.keys import sale_keys
from flashorder.infra.redis.scripts import load_script
from flashorder.kernel.identifiers import shard_of
from flashorder.sales.front.model import (
    ChangeOutcome,
    FrontSale,
    OpenOutcome,
    RestoredPurchase,
    RestoreOutcome,
    SealOutcome,
    ShardSnapshot,
    TopUpOutcome,
)
from flashorder.sales.front.packing import pack_item, portion_of, units_by_sku, unpack_sale

Outcome = TypeVar("Outcome", bound=StrEnum)
FILLING = "filling"

OPEN_CODES = {
    1: OpenOutcome.OPENED,
    2: OpenOutcome.ALREADY_OPEN,
    3: OpenOutcome.STALE_GENERATION,
}
CHANGE_CODES = {
    1: ChangeOutcome.CHANGED,
    2: ChangeOutcome.NOT_NEWER,
    3: ChangeOutcome.SALE_MISSING,
    4: ChangeOutcome.STALE_GENERATION,
}
TOP_UP_CODES = {
    1: TopUpOutcome.APPLIED,
    2: TopUpOutcome.ALREADY_APPLIED,
    3: TopUpOutcome.BELOW_ZERO,
    4: TopUpOutcome.SALE_MISSING,
    5: TopUpOutcome.STALE_GENERATION,
}
SEAL_CODES = {
    1: SealOutcome.SEALED,
    2: SealOutcome.SALE_MISSING,
    3: SealOutcome.NOT_CLOSED,
}
RESTORE_CODES = {
    1: RestoreOutcome.RESTORED,
    2: RestoreOutcome.SALE_MISSING,
    3: RestoreOutcome.STALE_GENERATION,
    4: RestoreOutcome.SALE_IS_OPEN,
}


class SaleFront:
    """The Redis side of sales. Every method raises ``StoreUnavailable`` when the store is away.

    Every change may be made again after a lost answer: each is idempotent by generation, revision
    or id. With several shards a change reaches them one after the other; until it has reached all,
    repeat it. With ``only`` that one of the ``shards`` alone is told, with its portion of units.
    """

    def __init__(self, redis: Redis, shards: int, *, only: int | None = None) -> None:
        self._redis = redis
        self._shards = shards
        self._told = range(shards) if only is None else range(only, only + 1)
        self._open = load_script("open_sale")
        self._change = load_script("change_sale")
        self._top_up = load_script("top_up")
        self._snapshot = load_script("snapshot")
        self._restore = load_script("restore")
        self._seal = load_script("seal_sale")

    async def open(self, sale: FrontSale) -> OpenOutcome:
        """Write the sale with its whole stock, once a generation.

        Call it only while PostgreSQL says that this generation never reached the front
        (``synced_revision = 0``): a store that lost its data must not be handed full stock again.
        """
        return await self._open_as(sale, sale.status)

    async def open_to_fill(self, sale: FrontSale) -> OpenOutcome:
        """``open`` for a rebuild: paused, and no receipt is honoured before the next ``change``."""
        return await self._open_as(sale, FILLING)

    async def _open_as(self, sale: FrontSale, status: str) -> OpenOutcome:
        outcomes = []
        for shard in range(self._shards):
            key = sale_keys(shard, sale.sale_id)
            items = (
                (item.sku, pack_item(item), portion_of(item.quantity, shard, self._shards))
                for item in sale.items
            )
            with store_failures():
                code = await self._open(
                    self._redis,
                    (keys.sales(shard), *key.all()),
                    (
                        str(sale.sale_id),
                        sale.generation,
                        sale.revision,
                        status,
                        sale.title,
                        sale.currency,
                        sale.starts_at_ms,
                        sale.ends_at_ms,
                        sale.payment_window_seconds * 1000,
                        *(value for item in items for value in item),
                    ),
                )
            outcomes.append(OPEN_CODES[code])
        return _weakest(outcomes, OPEN_CODES.values())

    async def change(self, sale: FrontSale) -> ChangeOutcome:
        """Bring status, window, limits and prices to ``sale.revision``; never touches stock."""
        outcomes = []
        for shard in self._told:
            key = sale_keys(shard, sale.sale_id)
            items = ((item.sku, pack_item(item)) for item in sale.items)
            with store_failures():
                code = await self._change(
                    self._redis,
                    (key.sale, key.items),
                    (
                        sale.generation,
                        sale.revision,
                        sale.status,
                        sale.title,
                        sale.starts_at_ms,
                        sale.ends_at_ms,
                        sale.payment_window_seconds * 1000,
                        *(value for item in items for value in item),
                    ),
                )
            outcomes.append(CHANGE_CODES[code])
        return _weakest(outcomes, CHANGE_CODES.values())

    async def top_up(
        self, sale_id: uuid.UUID, generation: int, top_up_id: uuid.UUID, sku: str, quantity: int
    ) -> TopUpOutcome:
        """Add units (or take back unsold ones: negative) once by ``top_up_id``.

        With several shards the units are split; taking back is all or nothing a shard, and
        BELOW_ZERO of one shard leaves what the others gave.
        """
        outcomes = []
        for shard in self._told:
            portion = portion_of(quantity, shard, self._shards)
            key = sale_keys(shard, sale_id)
            with store_failures():
                code = await self._top_up(
                    self._redis,
                    (key.sale, key.stock, key.top_ups),
                    (generation, top_up_id.bytes, sku, portion),
                )
            outcomes.append(TOP_UP_CODES[code])
        return _weakest(outcomes, TOP_UP_CODES.values())

    async def restore(
        self, sale_id: uuid.UUID, generation: int, shard: int, purchases: Sequence[RestoredPurchase]
    ) -> tuple[RestoreOutcome, int, int]:
        """Put a chunk of known purchases into a sale that was opened anew and is paused.

        Returns the outcome, how many were new, and how many found no stock left. Idempotent by
        token; keep a chunk under a thousand purchases.
        """
        key = sale_keys(shard, sale_id)
        with store_failures():
            code, restored, refused = await self._restore(
                self._redis,
                (key.sale, key.stock, key.sold, key.buyers, key.tokens, key.accepts),
                (
                    generation,
                    *(
                        value
                        for each in purchases
                        for value in (
                            each.token,
                            each.record,
                            each.buyer_id,
                            each.sku,
                            each.quantity,
                        )
                    ),
                ),
            )
        return RESTORE_CODES[code], restored, refused

    async def seal(self, sale_id: uuid.UUID) -> SealOutcome:
        """Have no receipt of a closed sale honoured any more, for good."""
        outcomes = []
        for shard in self._told:
            with store_failures():
                code = await self._seal(self._redis, (sale_keys(shard, sale_id).sale,), ())
            outcomes.append(SEAL_CODES[code])
        return _weakest(outcomes, SEAL_CODES.values())

    async def read(self, sale_id: uuid.UUID) -> FrontSale | None:
        """The sale with ``remaining`` and ``sold`` of each item, or None."""
        found = await self._read_many([sale_id])
        return found[0] if found else None

    async def read_all(self) -> list[FrontSale]:
        """Every sale the front knows, newest first."""
        with store_failures():
            known = await self._redis.smembers(keys.sales(0))
        texts = (each.decode() if isinstance(each, bytes) else each for each in known)
        sale_ids = sorted((uuid.UUID(text) for text in texts), reverse=True)
        return await self._read_many(sale_ids)

    async def snapshot(self, sale_id: uuid.UUID) -> list[ShardSnapshot]:
        """One consistent reading a shard; a shard that lacks the sale is left out."""
        readings = []
        for shard in range(self._shards):
            key = sale_keys(shard, sale_id)
            with store_failures():
                reply = await self._snapshot(
                    self._redis, (key.sale, key.stock, key.sold, keys.intents(shard)), ()
                )
            if reply:
                generation, last_id, stock, sold = reply
                milliseconds, sequence = last_id.split(b"-")
                readings.append(
                    ShardSnapshot(
                        shard=shard,
                        generation=generation,
                        last_intent=(int(milliseconds), int(sequence)),
                        stock=units_by_sku(stock),
                        sold=units_by_sku(sold),
                    )
                )
        return readings

    async def generations(
        self, sale_ids: Sequence[uuid.UUID], buyer_id: uuid.UUID
    ) -> list[int | None]:
        """The generation of each sale at the shard of a buyer; None: it does not have the sale."""
        shard = shard_of(buyer_id.bytes, self._shards)
        pipeline = self._redis.pipeline(transaction=False)
        for sale_id in sale_ids:
            pipeline.hget(sale_keys(shard, sale_id).sale, "generation")
        with store_failures():
            replies = await pipeline.execute()
        return [None if reply is None else int(reply) for reply in replies]

    async def now_ms(self) -> int:
        """The store's clock, Unix ms."""
        with store_failures():
            seconds, microseconds = await self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def remove(self, sale_id: uuid.UUID) -> None:
        """Forget a settled sale: every key of it. Idempotent."""
        for shard in self._told:
            with store_failures():
                await self._redis.srem(keys.sales(shard), str(sale_id))
                await self._redis.unlink(*sale_keys(shard, sale_id).all())

    async def _read_many(self, sale_ids: Sequence[uuid.UUID]) -> list[FrontSale]:
        pipeline = self._redis.pipeline(transaction=False)
        for sale_id in sale_ids:
            for shard in range(self._shards):
                key = sale_keys(shard, sale_id)
                for name in (key.sale, key.items, key.stock, key.sold):
                    pipeline.hgetall(name)
        with store_failures():
            replies = await pipeline.execute() if sale_ids else []
        width = 4 * self._shards
        read = (
            unpack_sale(sale_id, replies[index * width : (index + 1) * width])
            for index, sale_id in enumerate(sale_ids)
        )
        return [sale for sale in read if sale is not None]


def _weakest(outcomes: Iterable[Outcome], order: Iterable[Outcome]) -> Outcome:
    """The outcome that stands furthest from success among those of the shards."""
    return max(outcomes, key=list(order).index)
