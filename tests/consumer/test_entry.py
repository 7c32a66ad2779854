"""Reading an entry: what keeps the contract, and what is wrong with what does not."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.consumer.entry import (
    BadEntry,
    Claim,
    Entry,
    claim_of,
    columns_of,
    decode,
    decode_all,
)
from flashorder.consumer.placing import decode_fields, encode_fields
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.identifiers import order_number
from flashorder.kernel.intents import INTENT_FIELD
from tests.intents import pack_intent

GOOD = {"order_id": b"o" * 16, "buyer_id": b"b" * 16, "sale_id": b"s" * 16, "quantity": 2}


def entry(entry_id: bytes = b"1-0", **parts: Any) -> Entry:
    return Entry.of(entry_id, {INTENT_FIELD: pack_intent(**{**GOOD, **parts})})


def test_a_good_entry() -> None:
    intent = decode(entry(b"1700000000001-7"))
    assert (intent.order_id, intent.buyer_id, intent.sale_id) == tuple(
        uuid.UUID(bytes=letter * 16) for letter in (b"o", b"b", b"s")
    )
    assert intent.order_number == order_number(b"o" * 16)
    assert (intent.sku, intent.fingerprint) == ("85123A", b"f" * 8)
    assert (intent.quantity, intent.unit_price_amount, intent.address_id) == (2, 1999, None)
    assert (intent.accepted_ms, intent.due_ms) == (1_700_000_000_000, 4_000_000_000_000)
    assert (intent.intent_ms, intent.intent_seq) == (1700000000001, 7)
    address = uuid.UUID(bytes=b"a" * 16)
    assert decode(entry(address_id=address.bytes)).address_id == address


@pytest.mark.parametrize("fields", [{}, {b"another": pack_intent()}, {INTENT_FIELD: b""}])
def test_without_its_field_it_is_none(fields: dict[bytes, bytes]) -> None:
    bad = Entry.of(b"1-0", fields)
    with pytest.raises(BadEntry):
        decode(bad)
    with pytest.raises(BadEntry):
        decode_all([entry(), bad])
    assert claim_of(fields) == Claim()


@pytest.mark.parametrize(
    "parts",
    [
        {"address_id": b"a"},
        {"fingerprint": b"f" * 7},
        {"sku_bytes": 5},
        {"sku_bytes": 7},
        {"sku": b""},
        {"sku": b"\xff"},
        {"sku": b"a\0b"},
        {"sku": b"a" * 300},
        {"quantity": 0},
        {"quantity": 2**31},
        {"unit_price_amount": 900_000_000_000_000},
        {"unit_price_amount": 2**64 - 1},
        {"accepted_ms": 0},
        {"due_ms": 1},
        {"due_ms": 2**64 - 1},
        {"generation": 0},
        {"generation": 2**31},
        {"entry_id": b"9223372036854775808-0"},
        {"entry_id": b"1-9223372036854775808"},
    ],
)
def test_what_the_database_could_not_hold_is_refused(parts: dict[str, Any]) -> None:
    bad = entry(**parts)
    with pytest.raises(BadEntry):
        decode(bad)
    with pytest.raises(BadEntry):
        decode_all([entry(), bad])


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "sku": st.sampled_from(["85123A", "x", "ä"]),
                "quantity": st.integers(1, 9),
                "address_id": st.sampled_from([b"", b"a" * 16]),
                "entry_id": st.sampled_from([b"5-1", b"0-0", b"1700000000000-12"]),
            },
        ),
        min_size=1,
        max_size=6,
    )
)
def test_many_at_once_are_read_as_each_by_itself(several: list[dict[str, Any]]) -> None:
    entries = [entry(**parts) for parts in several]
    assert decode_all(entries) == columns_of(map(decode, entries))


@given(st.binary(max_size=200), st.integers(0, 140), st.integers(0, 140))
def test_any_bytes_are_read_or_refused_and_kept_as_they_were(
    wrong: bytes, start: int, length: int
) -> None:
    good = pack_intent(**GOOD)
    fields = {INTENT_FIELD: good[:start] + wrong + good[start + length :]}
    assert decode_fields(encode_fields(fields)) == fields
    claim_of(fields)
    with suppress(BadEntry):  # and nothing else
        decode(Entry.of(b"1-0", fields))
    with suppress(BadEntry):
        decode_all([Entry.of(b"1-0", fields)])


@pytest.mark.parametrize(
    ("wrong", "unread"),
    [
        ({}, set()),
        ({"sku": b"\xff"}, {"sku"}),
        ({"sku": b"a\0b", "unit_price_amount": 10**18}, {"sku"}),
        ({"quantity": 0}, {"quantity"}),
        ({"quantity": 2**31, "accepted_ms": 0}, {"quantity"}),
    ],
)
def test_each_readable_part_of_a_claim_is_read_whatever_the_others_are(
    wrong: dict[str, Any], unread: set[str]
) -> None:
    whole = Claim(*(uuid.UUID(bytes=letter * 16) for letter in (b"o", b"s", b"b")), "85123A", 2)
    read = claim_of({INTENT_FIELD: pack_intent(**{**GOOD, **wrong})})
    assert read == whole._replace(**dict.fromkeys(unread))


async def test_ids_are_of_the_type_that_the_driver_gives_and_takes_as_it_is(pool: Pool) -> None:
    (ids, *_) = decode_all([entry()])
    (given_back,) = await pool.fetchval("SELECT $1::uuid[]", ids)
    assert type(ids[0]) is type(given_back)
    assert isinstance(ids[0], uuid.UUID)
    assert (ids[0], hash(ids[0])) == (given_back, hash(uuid.UUID(bytes=b"o" * 16)))
