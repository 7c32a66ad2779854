"""A small front for tests: one shard, scripts called as the service calls them."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from typing import Any

import redis

from flashorder.infra.redis import keys
from flashorder.infra.redis.scripts import load_script
from flashorder.kernel.identifiers import (
    idempotency_token,
    order_id_prefix,
    request_fingerprint,
)
from flashorder.reservations.records import Purchase
from flashorder.sales.front import FrontItem, FrontSale
from flashorder.sales.model import SaleStatus

SECRET = b"a secret of the tests"
FAR_FUTURE_MS = 4_102_444_800_000


def a_sale(
    *items: FrontItem,
    status: SaleStatus = SaleStatus.OPEN,
    starts_at_ms: int = 0,
    ends_at_ms: int = FAR_FUTURE_MS,
    generation: int = 1,
    revision: int = 1,
) -> FrontSale:
    return FrontSale(
        sale_id=uuid.uuid4(),
        title="A sale",
        status=status,
        currency="GBP",
        starts_at_ms=starts_at_ms,
        ends_at_ms=ends_at_ms,
        payment_window_seconds=900,
        generation=generation,
        revision=revision,
        items=items or (an_item(),),
    )


def an_item(sku: str = "85123A", quantity: int = 10, per_buyer_limit: int = 2) -> FrontItem:
    return FrontItem(
        sku=sku,
        name="WHITE HANGING HEART | T-LIGHT HOLDER",
        unit_price_amount=255,
        list_price_amount=299,
        per_buyer_limit=per_buyer_limit,
        quantity=quantity,
    )


def a_purchase(
    sale: FrontSale,
    buyer: bytes | None = None,
    key: str | None = None,
    sku: str | None = None,
    quantity: int = 1,
    generation: int | None = None,
) -> Purchase:
    buyer = buyer or os.urandom(16)
    sku = sale.items[0].sku if sku is None else sku
    return Purchase(
        sale_id=sale.sale_id,
        generation=sale.generation if generation is None else generation,
        token=idempotency_token(SECRET, buyer, sale.sale_id.bytes, key or uuid.uuid4().hex),
        prefix=order_id_prefix(),
        fingerprint=request_fingerprint(SECRET, buyer, f"{quantity}||{sku}".encode()),
        buyer_id=buyer,
        sku=sku,
        quantity=quantity,
    )


@dataclass
class SyncFront:
    """The scripts over a synchronous client, for hypothesis."""

    client: redis.Redis
    sale: FrontSale
    keys: keys.SaleKeys = field(init=False)

    def __post_init__(self) -> None:
        self.keys = keys.sale_keys(0, self.sale.sale_id)

    def run(self, name: str, script_keys: tuple[str, ...], *args: Any) -> Any:
        return self.client.eval(load_script(name).source, len(script_keys), *script_keys, *args)

    def open(self, status: str | None = None) -> int:
        sale = self.sale
        items = [
            (each.sku, f"{each.unit_price_amount}|{each.per_buyer_limit}|0|{each.name}",
             each.quantity)
            for each in sale.items
        ]  # fmt: skip
        return self.run(
            "open_sale", (keys.sales(0), *self.keys.all()),
            str(sale.sale_id), sale.generation, sale.revision, status or sale.status, sale.title,
            sale.currency, sale.starts_at_ms, sale.ends_at_ms, 900_000,
            *(value for item in items for value in item),
        )  # fmt: skip

    def reserve(self, *purchases: Purchase) -> list[tuple[int, Any]]:
        reply = self.run(
            "reserve",
            keys.reserve_keys(0, self.sale.sale_id),
            purchases[0].generation,
            self.sale.sale_id.bytes,
            *(value for each in purchases for value in each.arguments()),
        )
        return list(zip(reply[3::2], reply[4::2], strict=True))

    def release(self, purchase: Purchase, hold: int, prefix: bytes | None = None) -> int:
        k = self.keys
        return self.run(
            "release", (k.sale, k.stock, k.sold, k.buyers, k.tokens),
            purchase.token, prefix or purchase.prefix, purchase.buyer_id, hold,
        )  # fmt: skip

    def reclaim(self, purchase: Purchase, hold: int, prefix: bytes | None = None) -> int:
        k = self.keys
        return self.run(
            "reclaim", (k.sale, k.items, k.stock, k.sold, k.buyers, k.tokens),
            purchase.token, prefix or purchase.prefix, purchase.buyer_id, hold,
        )  # fmt: skip

    def honour(
        self, purchase: Purchase, price: int = 255, generation: int | None = None
    ) -> tuple[int, Any]:
        """Code and detail of presenting a receipt of ``purchase``."""
        code, detail, *_ = self.run(
            "honour",
            keys.reserve_keys(0, self.sale.sale_id),
            self.sale.generation if generation is None else generation,
            self.sale.sale_id.bytes,
            purchase.arguments()[0],
            purchase.quantity,
            price,
            purchase.sku,
        )
        return code, detail

    def seal(self) -> int:
        return self.run("seal_sale", (self.keys.sale,))

    def top_up(self, top_up_id: bytes, sku: str, quantity: int) -> int:
        k = self.keys
        return self.run(
            "top_up", (k.sale, k.stock, k.top_ups),
            self.sale.generation, top_up_id, sku, quantity,
        )  # fmt: skip

    def change(self, revision: int, status: str, sku: str, limit: int) -> int:
        """Change one item's limit and the status; an SKU that is not in the sale comes along."""
        sale = self.sale
        return self.run(
            "change_sale", (self.keys.sale, self.keys.items),
            sale.generation, revision, status,
            sale.title, sale.starts_at_ms, sale.ends_at_ms, 900_000,
            sku, f"255|{limit}|0|name", "not-in-the-sale", "1|1|1|name",
        )  # fmt: skip

    def sold_out(self, sku: str, known: int = -1, lease_ms: int = 90) -> list[Any]:
        """What a worker may refuse ``sku`` by; see the header of lua/sold_out.lua."""
        k = self.keys
        script_keys = (k.sale, k.items, k.stock, k.tokens, k.accepts, k.leases)
        return self.run("sold_out", script_keys, sku, known, lease_ms)

    def snapshot(self) -> tuple[int, dict[str, int], dict[str, int]]:
        k = self.keys
        generation, _, *levels = self.run("snapshot", (k.sale, k.stock, k.sold, keys.intents(0)))
        stock, sold = (
            {sku.decode(): int(units) for sku, units in zip(flat[::2], flat[1::2], strict=True)}
            for flat in levels
        )
        return generation, stock, sold

    def units(self, key: str) -> dict[str, int]:
        return {sku.decode(): int(units) for sku, units in self.client.hgetall(key).items()}
