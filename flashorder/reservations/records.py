"""What the scripts answer, and the record they keep of each purchase.

A record is the value of ``{sN}:sale:<id>:tokens`` under the ten bytes of the token:

    byte  1      ``A`` the units are held, ``R`` they were released
    byte  2      hold, 1..255: which taking of the units this is
    bytes 3-8    first six bytes of the order id (Unix ms); the token is the rest of it
    bytes 9-16   fingerprint: last four bytes of the buyer id, four of the request's hash
    from 17      ``quantity:unit_price:due_ms:sku`` as text
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import msgspec


class ReserveCode(IntEnum):
    """The codes of lua/reserve.lua; a test holds the two together."""

    ACCEPTED = 1
    REPLAYED = 2
    KEY_REUSED = 3
    SOLD_OUT = 10
    LIMIT_REACHED = 11
    NOT_STARTED = 12
    ENDED = 13
    PAUSED = 14
    SALE_NOT_FOUND = 15
    SKU_NOT_IN_SALE = 16
    STALE_GENERATION = 17
    STOCK_MISSING = 18


class HonourCode(IntEnum):
    """The codes of lua/honour.lua; those that reserve.lua has too are named and numbered as its."""

    HONOURED = 1
    KNOWN = 2
    KEY_REUSED = 3
    SOLD_OUT = 10
    LIMIT_REACHED = 11
    ENDED = 13
    SALE_NOT_FOUND = 15
    SKU_NOT_IN_SALE = 16
    STALE_GENERATION = 17
    STOCK_MISSING = 18
    FILLING = 19


class Purchase(msgspec.Struct, frozen=True, gc=False):
    """One wish of one buyer, ready for the script; ids as raw bytes."""

    sale_id: uuid.UUID
    generation: int
    token: bytes
    prefix: bytes
    fingerprint: bytes
    buyer_id: bytes
    sku: str
    quantity: int
    address_id: bytes = b""

    def arguments(self) -> tuple[bytes | str, ...]:
        """The purchase's stride of ARGV in lua/reserve.lua: few, for each costs both sides."""
        return (
            self.prefix + self.token + self.buyer_id + self.fingerprint + self.address_id,
            f"{self.quantity}:{self.sku}",
        )


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The script's word on one purchase; ``detail`` as its header says, times by its clock."""

    code: ReserveCode
    detail: int | bytes
    now_ms: int
    window_ms: int


class HonourVerdict(NamedTuple):
    """The script's word on one receipt; ``detail`` as its header says, times by its clock."""

    code: HonourCode
    detail: int | bytes
    now_ms: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class PurchaseRecord:
    """A record, read."""

    held: bool
    hold: int
    prefix: bytes
    fingerprint: bytes
    quantity: int
    unit_price_amount: int
    due_ms: int
    sku: str

    @property
    def accepted_ms(self) -> int:
        """When the order id was made, by the web worker's clock; Unix ms."""
        return int.from_bytes(self.prefix)

    def belongs_to(self, buyer_id: bytes) -> bool:
        """Whether this buyer made the purchase."""
        return self.fingerprint[:4] == buyer_id[-4:]

    def pack(self) -> bytes:
        """The bytes that ``unpack`` reads; for lua/restore.lua."""
        state = b"A" if self.held else b"R"
        text = f"{self.quantity}:{self.unit_price_amount}:{self.due_ms}:{self.sku}"
        return state + bytes([self.hold]) + self.prefix + self.fingerprint + text.encode()

    @classmethod
    def unpack(cls, record: bytes) -> PurchaseRecord:
        """Read what a script wrote."""
        quantity, price, due_ms, sku = record[16:].decode().split(":", 3)
        return cls(
            held=record[:1] == b"A",
            hold=record[1],
            prefix=record[2:8],
            fingerprint=record[8:16],
            quantity=int(quantity),
            unit_price_amount=int(price),
            due_ms=int(due_ms),
            sku=sku,
        )
