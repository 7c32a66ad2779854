"""Reading an entry: what keeps the contract, and what is wrong with what does not."""

from __future__ import annotations

import uuid
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.consumer.entry import BadEntry, Claim, Entry, claim_of, decode
from flashorder.consumer.placing import decode_fields, encode_fields

GOOD = {
    b"order_id": b"o" * 16,
    b"buyer_id": b"b" * 16,
    b"sale_id": b"s" * 16,
    b"sku": b"85123A",
    b"quantity": b"2",
    b"unit_price": b"1999",
    b"address_id": b"",
    b"fingerprint": b"f" * 8,
    b"accepted_ms": b"1700000000000",
    b"due_ms": b"1700000900000",
    b"generation": b"1",
}


def test_a_good_entry() -> None:
    intent = decode(Entry.of(b"1700000000001-7", GOOD))
    assert (intent.order_id, intent.buyer_id) == (
        uuid.UUID(bytes=b"o" * 16),
        uuid.UUID(bytes=b"b" * 16),
    )
    assert (intent.quantity, intent.unit_price_amount, intent.address_id) == (2, 1999, None)
    assert (intent.intent_ms, intent.intent_seq) == (1700000000001, 7)
    assert decode(Entry.of(b"1-0", GOOD | {b"address_id": b"a" * 16})).address_id is not None


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_field_is_needed(name: bytes) -> None:
    with pytest.raises(BadEntry):
        decode(Entry.of(b"1-0", {key: value for key, value in GOOD.items() if key != name}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"order_id", b"o" * 15),
        (b"address_id", b"a"),
        (b"sku", b""),
        (b"sku", b"\xff"),
        (b"sku", b"a\0b"),
        (b"sku", b"a" * 300),
        (b"quantity", b"0"),
        (b"quantity", b"-1"),
        (b"quantity", b"1.5"),
        (b"quantity", b"2147483648"),
        (b"quantity", b"1" * 5000),
        (b"unit_price", b"-1"),
        (b"unit_price", b"900000000000000"),
        (b"fingerprint", b"f" * 7),
        (b"accepted_ms", b"0"),
        (b"due_ms", b"1"),
        (b"due_ms", b"99999999999999999999"),
        (b"generation", b"0"),
    ],
)
def test_what_the_database_could_not_hold_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(BadEntry):
        decode(Entry.of(b"1-0", GOOD | {name: value}))


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.binary(max_size=40)))
def test_any_bytes_are_read_or_refused_and_kept_as_they_were(wrong: dict[bytes, bytes]) -> None:
    fields = GOOD | wrong
    assert decode_fields(encode_fields(fields)) == fields
    with suppress(BadEntry):  # and nothing else
        decode(Entry.of(b"1-0", fields))


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.binary(max_size=40)))
def test_each_readable_part_of_a_claim_is_read_whatever_the_others_are(
    wrong: dict[bytes, bytes],
) -> None:
    whole = claim_of(GOOD)
    assert whole == Claim(
        *(uuid.UUID(bytes=letter * 16) for letter in (b"o", b"s", b"b")), "85123A", 2
    )
    read = claim_of(GOOD | wrong)
    for name, value in whole._asdict().items():
        if name.encode() not in wrong:
            assert getattr(read, name) == value
