"""A receipt holds for exactly what it was written for."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.reservations.receipts import Receipts, write_receipt
from tests.reservations.front import SECRET

RECEIPTS = Receipts(SECRET)
ADDRESS = bytes(range(100, 116))
BOUGHT: dict[str, Any] = {
    "order_id": b"o" * 16,
    "buyer_id": b"b" * 16,
    "sale_id": b"s" * 16,
    "sku": "85123A",
    "quantity": 2,
    "unit_price_amount": 255,
    "currency": "GBP",
}


def receipt_of(address_id: bytes = b"", receipts: Receipts = RECEIPTS, **changes: Any) -> str:
    bought = BOUGHT | changes
    terms = receipts.terms(
        *(bought[name] for name in ("sale_id", "sku", "quantity", "unit_price_amount", "currency"))
    )
    return write_receipt(terms, bought["order_id"], bought["buyer_id"], address_id)


def address_in(receipt: str, **changes: Any) -> bytes | None:
    return RECEIPTS.address_in(receipt, **BOUGHT | changes)


@pytest.mark.parametrize("address_id", [b"", ADDRESS])
def test_it_holds_and_tells_the_address(address_id: bytes) -> None:
    assert address_in(receipt_of(address_id)) == address_id


@pytest.mark.parametrize("address_id", [b"", ADDRESS])
@pytest.mark.parametrize(
    "forged",
    [
        {"order_id": b"o" * 15 + b"p"},
        {"order_id": b"p" + b"o" * 15},
        {"buyer_id": b"b" * 15 + b"c"},
        {"sale_id": b"t" + b"s" * 15},
        {"sku": "85123B"},
        {"sku": "85123"},
        {"sku": "85123A\0"},
        {"quantity": 1},
        {"quantity": 2 + (1 << 32)},
        {"quantity": -1},
        {"unit_price_amount": 254},
        {"unit_price_amount": 255 + (1 << 64)},
        {"unit_price_amount": -1},
        {"currency": "EUR"},
        {"currency": "gbp"},
        {"currency": "GB"},
        {"currency": "GBPP"},
        {"currency": "£££"},
        {"currency": ""},
    ],
)
def test_it_holds_for_nothing_else(forged: dict[str, Any], address_id: bytes) -> None:
    assert address_in(receipt_of(address_id), **forged) is None


def test_another_secret_signs_nothing() -> None:
    assert address_in(receipt_of(receipts=Receipts(b"another secret"))) is None


def test_the_address_is_signed() -> None:
    with_address, without = receipt_of(ADDRESS), receipt_of()
    assert address_in(with_address[:-32]) is None
    assert address_in(without + ADDRESS.hex()) is None
    assert address_in(with_address[:-32] + os.urandom(16).hex()) is None


def test_it_has_one_spelling() -> None:
    receipt = receipt_of(ADDRESS)
    for spelt in (
        receipt.upper(),
        "V1" + receipt[2:],
        receipt[3:],
        "v2" + receipt[2:],
        f" {receipt}",
        f"{receipt}\n",
        receipt[:-1],
        receipt + "0",
        receipt.replace("v1.", "v1. "),
        "v1." + "٣" * 32,
        "",
        "v1.",
    ):
        assert address_in(spelt) is None


@given(at=st.integers(3, 66), digit=st.sampled_from("0123456789abcdef"))
def test_every_digit_counts(at: int, digit: str) -> None:
    receipt = receipt_of(ADDRESS)
    changed = receipt[:at] + digit + receipt[at + 1 :]
    assert (address_in(changed) == ADDRESS) == (changed == receipt)


TEXTS = st.text(max_size=8)


@given(one=st.tuples(TEXTS, st.binary(max_size=3)), other=st.tuples(TEXTS, st.binary(max_size=3)))
def test_no_two_purchases_are_signed_as_the_same_bytes(
    one: tuple[str, bytes], other: tuple[str, bytes]
) -> None:
    """A SKU may end as an order id begins; its length keeps them apart."""

    def signed(sku: str, start: bytes) -> str:
        return receipt_of(sku=sku, order_id=start.ljust(16, b"\0"))

    same = (one[0], one[1].ljust(3, b"\0")) == (other[0], other[1].ljust(3, b"\0"))
    assert (signed(*one) == signed(*other)) == same


def test_nothing_else_that_is_hashed_with_the_secret_is_a_receipt() -> None:
    """The hash without ``person``, cut to the same length, is no receipt of the same bytes."""
    message = receipt_message()
    assert hashlib.blake2b(
        message, key=SECRET, digest_size=16, person=b"receipt v1"
    ).hexdigest() == receipt_of().removeprefix("v1.")
    for person in (b"", b"fingerprint"):
        forged = hashlib.blake2b(message, key=SECRET, digest_size=16, person=person)
        assert address_in(f"v1.{forged.hexdigest()}") is None


def receipt_message() -> bytes:
    """What is signed, written out from the module's head."""
    sku = BOUGHT["sku"].encode()
    return b"".join(
        (
            BOUGHT["sale_id"],
            b"GBP",
            (255).to_bytes(8),
            (2).to_bytes(4),
            len(sku).to_bytes(2),
            sku,
            BOUGHT["order_id"],
            BOUGHT["buyer_id"],
        )
    )
