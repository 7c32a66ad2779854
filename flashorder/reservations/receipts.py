"""Signed receipts: a 202 that its buyer can prove, also after the front has lost it.

A receipt is ``v1.`` and a keyed BLAKE2b hash (RFC 7693), 16 bytes in lower-case hex; where the
purchase named an address, its 16 bytes follow, so that nobody has to remember it. Hashed are, one
after the other, the sale (16 bytes), the currency (3), unit price (8) and quantity (4, both
big-endian), the length of the SKU in bytes (2), the SKU, the order id (16), the buyer (16), and the
address or nothing. Whatever stands before the order id is the same for all who buy the same, so it
is hashed once: on the hot path a receipt is a copy of that state and 32 bytes more.

The key is that of the order ids (docs/adr/0003); ``person`` and size keep one hash of it from ever
being another. See docs/adr/0015.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from typing import Final

RECEIPT_BYTES: Final = 16
VERSION: Final = "v1."
_PERSON: Final = b"receipt v1"
_TERMS: Final = struct.Struct(">16s3sQIH")
_RECEIPT: Final = re.compile(rf"{re.escape(VERSION)}[0-9a-f]{{32}}((?:[0-9a-f]{{32}})?)")
_AMOUNT_END: Final = 1 << 64
_QUANTITY_END: Final = 1 << 32


class Receipts:
    """Writes receipts and checks them; ``secret`` is at most 64 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = hashlib.blake2b(key=secret, digest_size=RECEIPT_BYTES, person=_PERSON)

    def terms(
        self, sale_id: bytes, sku: str, quantity: int, unit_price_amount: int, currency: str
    ) -> hashlib.blake2b:
        """What all receipts of one wish at one price begin with, hashed; to be copied."""
        name = sku.encode()
        state = self._keyed.copy()
        state.update(
            _TERMS.pack(sale_id, currency.encode(), unit_price_amount, quantity, len(name)) + name
        )
        return state

    def address_in(
        self,
        receipt: str,
        order_id: bytes,
        buyer_id: bytes,
        *,
        sale_id: bytes,
        sku: str,
        quantity: int,
        unit_price_amount: int,
        currency: str,
    ) -> bytes | None:
        """The address that the purchase named, empty if none; None: it is no receipt of this.

        Ids are 16 bytes. Compared in constant time and in its one spelling.
        """
        spelt = _RECEIPT.fullmatch(receipt)
        if (
            spelt is None
            or not (0 <= unit_price_amount < _AMOUNT_END and 0 <= quantity < _QUANTITY_END)
            or not (len(currency) == 3 and currency.isascii())
        ):
            return None
        address_id = bytes.fromhex(spelt[1])
        terms = self.terms(sale_id, sku, quantity, unit_price_amount, currency)
        true = write_receipt(terms, order_id, buyer_id, address_id)
        return address_id if hmac.compare_digest(receipt, true) else None


def write_receipt(
    terms: hashlib.blake2b, order_id: bytes, buyer_id: bytes, address_id: bytes
) -> str:
    """The receipt of one order; ids are 16 bytes, the address may be empty."""
    signed = terms.copy()
    signed.update(order_id + buyer_id + address_id)
    return f"{VERSION}{signed.hexdigest()}{address_id.hex()}"
