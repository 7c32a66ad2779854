"""An accepted purchase on its way from lua/reserve.lua to PostgreSQL: one field of an entry.

The value of ``intent``; integers are big-endian and unsigned, ids are raw bytes:

     2 bytes  length of the SKU in bytes
    16        sale id
     8        accepted, Unix ms by the store's clock
     8        due, Unix ms: until when the buyer has to pay
     4        generation of the sale
     8        unit price, minor units
     4        quantity, units
    16        order id
    16        buyer id
     8        fingerprint of the request, see ``identifiers.request_fingerprint``
     0 or 16  address id
     the rest SKU, UTF-8

One field, because each argument of an XADD is made, copied, logged and freed for itself: eleven
fields cost the store half as much again for a purchase (docs/adr/0013).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

INTENT_FIELD: Final = b"intent"
_FIXED: Final = struct.Struct(">H16sQQIQI16s16s8s")
_FIXED_BYTES: Final = _FIXED.size
_ADDRESS_BYTES: Final = 16


class RawIntent(NamedTuple):
    """The parts of an intent, nothing judged yet; ``address_id`` may be empty."""

    sale_id: bytes
    accepted_ms: int
    due_ms: int
    generation: int
    unit_price_amount: int
    quantity: int
    order_id: bytes
    buyer_id: bytes
    fingerprint: bytes
    address_id: bytes
    sku: bytes


def unpack_intent(value: bytes) -> RawIntent:
    """Take ``value`` apart; ``ValueError`` when its length cannot be."""
    size = len(value)
    if size < _FIXED_BYTES:
        raise ValueError(f"an intent of {size} bytes is too short")
    sku_bytes, *parts = _FIXED.unpack_from(value)
    sku_at = size - sku_bytes
    if sku_at not in (_FIXED_BYTES, _FIXED_BYTES + _ADDRESS_BYTES):
        raise ValueError(f"an intent of {size} bytes does not end with a SKU of {sku_bytes}")
    return RawIntent._make((*parts, value[_FIXED_BYTES:sku_at], value[sku_at:]))


def unpack_intents(values: Sequence[bytes]) -> list[Sequence[Any]]:
    """``unpack_intent`` of each, by column: for each field of ``RawIntent`` its values.

    A third of the cost for the common case; ``values`` must not be empty.
    """
    try:
        sku_bytes, *columns = zip(*map(_FIXED.unpack_from, values), strict=True)
    except struct.error:
        raise ValueError("an intent is too short") from None
    ends = [value[_FIXED_BYTES:] for value in values]
    if tuple(map(len, ends)) == sku_bytes:
        return [*columns, (b"",) * len(values), ends]
    return list(zip(*map(unpack_intent, values), strict=True))
