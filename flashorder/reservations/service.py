"""Buying: from a checked request to the store's word on it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Final, Protocol

import structlog
from redis.asyncio import Redis

from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.keys import sale_keys
from flashorder.kernel.errors import Conflict, FlashorderError, NotFound
from flashorder.kernel.identifiers import (
    TOKEN_BYTES,
    body_hash,
    idempotency_token,
    order_id_prefix,
    shard_of,
)
from flashorder.reservations.admission import Admission
from flashorder.reservations.batching import Batcher, Settle
from flashorder.reservations.ports import AcceptedPurchase
from flashorder.reservations.receipts import Receipts
from flashorder.reservations.records import Purchase, PurchaseRecord, ReserveCode, Verdict
from flashorder.reservations.sold_out import SoldOut
from flashorder.sales.front import FrontSale

log = structlog.get_logger(__name__)

BUILT_ANEW: Final = frozenset(
    {ReserveCode.SALE_NOT_FOUND, ReserveCode.STALE_GENERATION, ReserveCode.STOCK_MISSING}
)
"""Verdicts that tell of the worker's view of the sale, and nothing of the purchase."""
_NOTHING_LEFT: Final = Verdict(ReserveCode.SOLD_OUT, 0, 0, 0)
"""What the store would say, word for word; its clock is not told with a refusal of this kind."""
NOTHING_LEFT: Final = Conflict("sold out: nothing is left", code="sold_out")
"""The same for the shopper: one for all of them, since it is told and not raised."""


class Directory(Protocol):
    """The sales that the front knows, as ``flashorder.sales.directory`` keeps them in memory."""

    def get(self, sale_id: uuid.UUID) -> FrontSale | None:
        """The sale, if it is known."""
        ...

    async def find(self, sale_id: uuid.UUID) -> FrontSale | None:
        """The sale; the store is asked for one that is not known."""
        ...

    def all(self) -> Sequence[FrontSale]:
        """Every sale that is known."""
        ...

    def refresh_soon(self) -> None:
        """Have the store asked again, without waiting for it."""
        ...


class Memory(Protocol):
    """What should be at the front, as ``flashorder.sales.memory`` knows it."""

    async def check_unknown(self, sale_id: uuid.UUID) -> None:
        """Raise ``Unavailable`` if the front should know the sale, or nobody can tell."""
        ...


class Reservations:
    """Takes purchases for every sale of the front; ``batchers`` has one a shard."""

    def __init__(
        self,
        redis: Redis,
        directory: Directory,
        batchers: Sequence[Batcher],
        admission: Admission,
        sold_out: SoldOut,
        *,
        memory: Memory,
        secret: bytes,
    ) -> None:
        self._redis = redis
        self._memory = memory
        self._directory = directory
        self._batchers = batchers
        self._admission = admission
        self._sold_out = sold_out
        self._secret = secret
        self.receipts = Receipts(secret)
        """Signs what is accepted."""
        self._loop = asyncio.get_running_loop()
        self._refused: list[Callable[[FlashorderError], None]] = []
        # On the hot path each call that only hands on costs as much as a look into a dictionary.
        self.known_sale: Callable[[uuid.UUID], FrontSale | None] = directory.get
        """The sale, if nobody has to be asked for it."""
        self.put: Callable[[Purchase, Settle], None] = (
            batchers[0].put if len(batchers) == 1 else self._put
        )
        """Has the store decide a purchase; told is the word, be it a refusal or a failure."""
        self.token_of: Callable[[bytes, bytes, str], bytes] = partial(idempotency_token, secret)
        """What a key stands for; of a buyer (16 bytes), a sale (16 bytes) and the key."""

    async def find_sale(self, sale_id: uuid.UUID) -> FrontSale:
        """The sale; one that was opened a moment ago is asked for before it is denied.

        ``NotFound`` only of what should not be there: ``Unavailable`` of a sale that was lost.
        """
        sale = self._directory.get(sale_id) or await self._directory.find(sale_id)
        if sale is None:
            await self._memory.check_unknown(sale_id)
            raise NotFound("there is no such sale", code="sale_not_found")
        return sale

    def purchase(
        self,
        sale: FrontSale,
        buyer_id: bytes,
        token: bytes,
        sku: str,
        quantity: int,
        address_id: bytes = b"",
    ) -> Purchase:
        """The wish of a buyer, with the identity that its key gives it; ids are 16 bytes."""
        return Purchase(
            sale_id=sale.sale_id,
            generation=sale.generation,
            token=token,
            prefix=order_id_prefix(),
            fingerprint=buyer_id[-4:] + _wish_hash(self._secret, quantity, address_id, sku),
            buyer_id=buyer_id,
            sku=sku,
            quantity=quantity,
            address_id=address_id,
        )

    def purchase_of_receipt(
        self,
        sale: FrontSale,
        buyer_id: bytes,
        order_id: bytes,
        sku: str,
        quantity: int,
        address_id: bytes,
    ) -> Purchase:
        """The purchase that a receipt was written for, in the sale's present generation."""
        return Purchase(
            sale_id=sale.sale_id,
            generation=sale.generation,
            token=order_id[-TOKEN_BYTES:],
            prefix=order_id[:-TOKEN_BYTES],
            fingerprint=buyer_id[-4:] + _wish_hash(self._secret, quantity, address_id, sku),
            buyer_id=buyer_id,
            sku=sku,
            quantity=quantity,
            address_id=address_id,
        )

    def refuses(
        self,
        sale: FrontSale,
        buyer_id: bytes,
        sku: str,
        quantity: int,
        token: bytes,
        settle: Callable[[FlashorderError], None],
    ) -> bool:
        """Whether the store has lent the right to refuse this wish, and ``settle`` will be told.

        Raises ``Overloaded`` when there is no room for anything.
        """
        if self._admission.full:
            self._admission.check()
        sold_out = self._sold_out
        if not sold_out.leases:
            return False
        shard = shard_of(buyer_id, len(self._batchers))
        if not sold_out.refuses(shard, sale.sale_id.int, sale.generation, sku, quantity, token):
            return False
        if not self._refused:
            self._loop.call_soon(self._tell_refused)
        self._refused.append(settle)
        return True

    def _put(self, purchase: Purchase, settle: Settle) -> None:
        self._batchers[shard_of(purchase.buyer_id, len(self._batchers))].put(purchase, settle)

    def _tell_refused(self) -> None:
        """Those of one turn of the loop together, after all of its reading.

        Written one by one in between, each answer wakes a client that has just gone to sleep, which
        costs a third of the call.
        """
        refused, self._refused = self._refused, []
        for settle in refused:
            try:
                settle(NOTHING_LEFT)
            except Exception:  # one shopper's answer must not cost the others theirs
                log.exception("purchase_not_settled")

    async def buy(self, purchase: Purchase) -> Verdict:
        """``refuses`` or else ``put``, awaited. Raises ``Overloaded``, ``StoreUnavailable``."""
        self._admission.check()
        shard = shard_of(purchase.buyer_id, len(self._batchers))
        if self._sold_out.refuses(
            shard,
            purchase.sale_id.int,
            purchase.generation,
            purchase.sku,
            purchase.quantity,
            purchase.token,
        ):
            return _NOTHING_LEFT
        return await self._batchers[shard].submit(purchase)

    def notice(self, purchase: Purchase, verdict: Verdict) -> None:
        """Act on what a refusal tells of the sale, for those who come next."""
        if verdict.code in BUILT_ANEW:
            self._directory.refresh_soon()
        elif (
            verdict.code is ReserveCode.SOLD_OUT
            and verdict.detail == 0
            and verdict is not _NOTHING_LEFT
        ):
            self._sold_out.heard(shard_of(purchase.buyer_id, len(self._batchers)), purchase)

    def look_again(self) -> None:
        """The sale is not what this worker takes it for: have the store asked soon."""
        self._directory.refresh_soon()

    async def find(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> AcceptedPurchase | None:
        """See ``AcceptedPurchases.find``: one round trip over all sales that the front knows."""
        sales = self._directory.all()
        if not sales:
            return None
        shard = shard_of(buyer_id.bytes, len(self._batchers))
        token, prefix = order_id.bytes[6:], order_id.bytes[:6]
        pipeline = self._redis.pipeline(transaction=False)
        for sale in sales:
            pipeline.hget(sale_keys(shard, sale.sale_id).tokens, token)
        with store_failures():
            records = await pipeline.execute()
        for sale, packed in zip(sales, records, strict=True):
            if packed is None:
                continue
            record = PurchaseRecord.unpack(packed)
            if record.prefix == prefix and record.belongs_to(buyer_id.bytes):
                return _accepted(order_id, sale, record)
        return None


@lru_cache(maxsize=1024)
def _wish_hash(secret: bytes, quantity: int, address_id: bytes, sku: str) -> bytes:
    """Remembered, since in a sale nearly everybody wants the same."""
    return body_hash(secret, b"%d|%b|%b" % (quantity, address_id, sku.encode()))


def _accepted(order_id: uuid.UUID, sale: FrontSale, record: PurchaseRecord) -> AcceptedPurchase:
    names = {item.sku: item.name for item in sale.items}
    return AcceptedPurchase(
        order_id=order_id,
        sale_id=sale.sale_id,
        sku=record.sku,
        name=names.get(record.sku, record.sku),
        quantity=record.quantity,
        unit_price_amount=record.unit_price_amount,
        currency=sale.currency,
        accepted_ms=record.accepted_ms,
        due_ms=record.due_ms,
    )
