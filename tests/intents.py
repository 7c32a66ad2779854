"""Intents as lua/reserve.lua packs them, with whatever a test wants in them."""

from __future__ import annotations

import os
import struct
from typing import Any

from flashorder.kernel.identifiers import new_id


def pack_intent(sku: str | bytes = "85123A", **parts: Any) -> bytes:
    """The value of the field ``intent``; ``parts`` by the names of ``RawIntent``."""
    raw = sku if isinstance(sku, bytes) else sku.encode()
    terms = struct.pack(
        ">H16sQQIQI",
        parts.pop("sku_bytes", len(raw)),
        parts.pop("sale_id", b"s" * 16),
        parts.pop("accepted_ms", 1_700_000_000_000),
        parts.pop("due_ms", 4_000_000_000_000),
        parts.pop("generation", 1),
        parts.pop("unit_price_amount", 1999),
        parts.pop("quantity", 1),
    )
    who = (
        parts.pop("order_id", None) or new_id().bytes,
        parts.pop("buyer_id", None) or os.urandom(16),
        parts.pop("fingerprint", b"f" * 8),
        parts.pop("address_id", b""),
    )
    assert not parts, parts
    return terms + b"".join(who) + raw
