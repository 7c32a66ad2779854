"""Identifiers: the order id is a UUIDv7 and carries its token."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.kernel.identifiers import (
    id_text,
    idempotency_token,
    new_id,
    order_id_prefix,
    order_number,
    parse_id,
    request_fingerprint,
    shard_of,
)

ids = st.binary(min_size=16, max_size=16)


@given(buyer=ids, sale=ids, key=st.text(max_size=255), seconds=st.integers(0, 2**38))
def test_an_order_id_is_a_uuid7_of_its_time(
    buyer: bytes, sale: bytes, key: str, seconds: int
) -> None:
    token = idempotency_token(b"secret", buyer, sale, key)
    order_id = uuid.UUID(bytes=order_id_prefix(seconds) + token)
    assert order_id.version == 7
    assert order_id.variant == uuid.RFC_4122
    assert int.from_bytes(order_id.bytes[:6]) == seconds * 1000
    assert token == idempotency_token(b"secret", buyer, sale, key)


@given(one=st.tuples(ids, ids, st.text(max_size=20)), two=st.tuples(ids, ids, st.text(max_size=20)))
def test_tokens_of_different_intents_differ(
    one: tuple[bytes, bytes, str], two: tuple[bytes, bytes, str]
) -> None:
    same = idempotency_token(b"s", *one) == idempotency_token(b"s", *two)
    assert same == (one == two)


def test_a_fingerprint_proves_the_owner_and_tells_bodies_apart() -> None:
    buyer = new_id().bytes
    fingerprint = request_fingerprint(b"s", buyer, b"1||sku")
    assert len(fingerprint) == 8
    assert fingerprint[:4] == buyer[-4:]
    assert fingerprint != request_fingerprint(b"s", buyer, b"2||sku")
    assert fingerprint != request_fingerprint(b"t", buyer, b"1||sku")


def test_order_numbers_are_short_and_do_not_repeat() -> None:
    numbers = {order_number(new_id().bytes) for _ in range(20_000)}
    assert len(numbers) == 20_000
    assert all(len(number) == 14 and not set(number) & set("ILOU") for number in numbers)
    assert order_number(bytes(16)) == "0000-0000-0000"
    assert order_number(bytes([255]) * 16) == "ZZZZ-ZZZZ-ZZZZ"


def test_a_token_has_one_order_number_whenever_its_order_is_made() -> None:
    token = idempotency_token(b"s", new_id().bytes, new_id().bytes, "key")
    ids = [order_id_prefix(seconds) + token for seconds in (0, 1_700_000_000, 4_000_000_000)]
    assert {order_number(order_id) for order_id in ids} == {order_number(token)}


@pytest.mark.parametrize(
    "text",
    ["", "x", "{s0}", "0" * 36, "a\0b", "x" * 10_240, "0198c0de-0000-7000-8000-00000000000 ",
     "{0198c0de-0000-7000-8000-000000000000}", "0198c0de000070008000000000000000"],
)  # fmt: skip
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_id(text) is None


@given(raw=ids)
def test_the_text_of_an_id_is_the_standard_library_s(raw: bytes) -> None:
    assert id_text(raw) == str(uuid.UUID(bytes=raw))


def test_an_id_reads_back() -> None:
    made = new_id()
    assert parse_id(str(made)) == parse_id(str(made).upper()) == made


@given(buyer=ids, shards=st.integers(1, 256))
def test_a_buyer_has_one_shard(buyer: bytes, shards: int) -> None:
    assert 0 <= shard_of(buyer, shards) < shards
