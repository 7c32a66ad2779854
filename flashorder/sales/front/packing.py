"""How a sale is written into its hashes, and read back."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence

from flashorder.sales.front.model import FENCED, FrontItem, FrontSale
from flashorder.sales.model import SaleStatus


def pack_item(item: FrontItem) -> str:
    """``price|limit|list price|name``: what lua/reserve.lua reads of it comes first."""
    return f"{item.unit_price_amount}|{item.per_buyer_limit}|{item.list_price_amount}|{item.name}"


def portion_of(quantity: int, shard: int, shards: int) -> int:
    """What of ``quantity`` falls to ``shard``; the portions sum to the whole, negative ones too."""
    each, rest = divmod(abs(quantity), shards)
    portion = each + (1 if shard < rest else 0)
    return portion if quantity >= 0 else -portion


def units_by_sku(flat: Sequence[bytes] | dict[bytes, bytes]) -> dict[str, int]:
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {sku.decode(): int(units) for sku, units in pairs}


def unpack_sale(sale_id: uuid.UUID, replies: Sequence[dict[bytes, bytes]]) -> FrontSale | None:
    """One sale out of four hashes a shard; None unless every shard has it."""
    if not all(replies[::4]):
        return None
    head, items = replies[0], replies[1]
    remaining: Counter[str] = Counter()
    sold: Counter[str] = Counter()
    for stock_reply, sold_reply in zip(replies[2::4], replies[3::4], strict=True):
        remaining.update(units_by_sku(stock_reply))
        sold.update(units_by_sku(sold_reply))
    return FrontSale(
        sale_id=sale_id,
        title=head[b"title"].decode(),
        status=SaleStatus(head[b"status"].decode()),
        currency=head[b"currency"].decode(),
        starts_at_ms=int(head[b"starts_at_ms"]),
        ends_at_ms=int(head[b"ends_at_ms"]),
        payment_window_seconds=int(head[b"window_ms"]) // 1000,
        generation=int(head.get(b"generation", FENCED)),
        revision=int(head[b"revision"]),
        items=tuple(
            _unpack_item(sku.decode(), packed.decode(), remaining, sold)
            for sku, packed in sorted(items.items())
        ),
    )


def _unpack_item(sku: str, packed: str, remaining: Counter[str], sold: Counter[str]) -> FrontItem:
    price, limit, list_price, name = packed.split("|", 3)
    return FrontItem(
        sku=sku,
        name=name,
        unit_price_amount=int(price),
        list_price_amount=int(list_price),
        per_buyer_limit=int(limit),
        remaining=remaining[sku],
        sold=sold[sku],
    )
