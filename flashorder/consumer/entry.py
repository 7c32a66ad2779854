"""An entry of the intents stream, and what PostgreSQL can hold of it. Pure."""

from __future__ import annotations

import itertools
import operator
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from asyncpg.pgproto.pgproto import UUID  # a uuid.UUID, made and sent ten times faster

from flashorder.kernel.errors import FlashorderError
from flashorder.kernel.identifiers import order_number
from flashorder.kernel.intents import INTENT_FIELD, unpack_intent, unpack_intents

SKU_CHARACTERS_MAX = 256
QUANTITY_MAX = 2**31 - 1
AMOUNT_MAX = 10**15
UNIX_MS_MAX = 253_402_300_799_999  # the end of the year 9999, as far as a timestamp is sensible
GENERATION_MAX = 2**31 - 1
ENTRY_NUMBER_MAX = 2**63 - 1  # the store counts to 2^64, a bigint does not

Fields = Mapping[bytes, bytes]


class BadEntry(FlashorderError):
    """The entry does not keep the contract."""

    default_code = "bad_entry"


class Entry(NamedTuple):
    """An entry as it was read: ``<ms>-<seq>``, and names and values in turn."""

    entry_id: bytes
    pairs: Sequence[bytes]

    @classmethod
    def of(cls, entry_id: bytes, fields: Fields) -> Entry:
        """The entry of ``fields``."""
        return cls(entry_id, list(itertools.chain.from_iterable(fields.items())))

    @property
    def fields(self) -> Fields:
        """Values by name."""
        return dict(zip(self.pairs[::2], self.pairs[1::2], strict=True))

    @property
    def intent(self) -> tuple[int, int]:
        """The id as numbers: milliseconds and sequence."""
        milliseconds, _, sequence = self.entry_id.partition(b"-")
        return int(milliseconds), int(sequence)


class Intent(NamedTuple):
    """One accepted purchase, in the order of the columns of sql/place_orders.sql.

    Amounts are in minor units, times Unix milliseconds of the store's clock.
    """

    order_id: uuid.UUID
    order_number: str
    buyer_id: uuid.UUID
    sale_id: uuid.UUID
    sku: str
    quantity: int
    unit_price_amount: int
    address_id: uuid.UUID | None
    fingerprint: bytes
    accepted_ms: int
    due_ms: int
    intent_ms: int
    intent_seq: int


Columns = list[list[Any]]
"""Intents by column: for each field of ``Intent`` its values, all of the same length."""


class Claim(NamedTuple):
    """What an entry says of the units that it took, as far as it can be read.

    In the order of the columns of sql/put_aside.sql.
    """

    order_id: uuid.UUID | None = None
    sale_id: uuid.UUID | None = None
    buyer_id: uuid.UUID | None = None
    sku: str | None = None
    quantity: int | None = None


def claim_of(fields: Fields) -> Claim:
    """Whatever of it can be read, each part for itself: the units are taken all the same."""
    try:
        raw = unpack_intent(fields[INTENT_FIELD])
    except (KeyError, ValueError):
        return Claim()
    return Claim(
        uuid.UUID(bytes=raw.order_id),
        uuid.UUID(bytes=raw.sale_id),
        uuid.UUID(bytes=raw.buyer_id),
        _sku_of(raw.sku),
        raw.quantity if 1 <= raw.quantity <= QUANTITY_MAX else None,
    )


def decode(entry: Entry) -> Intent:
    """Read ``entry``; ``BadEntry`` says what is wrong with it."""
    try:
        raw = unpack_intent(entry.fields[INTENT_FIELD])
        intent_ms, intent_seq = entry.intent
        intent = Intent(
            uuid.UUID(bytes=raw.order_id),
            order_number(raw.order_id),
            uuid.UUID(bytes=raw.buyer_id),
            uuid.UUID(bytes=raw.sale_id),
            raw.sku.decode(),
            raw.quantity,
            raw.unit_price_amount,
            uuid.UUID(bytes=raw.address_id) if raw.address_id else None,
            raw.fingerprint,
            raw.accepted_ms,
            raw.due_ms,
            intent_ms,
            intent_seq,
        )
    except KeyError as error:
        raise BadEntry(f"field {error.args[0].decode()} is missing") from None
    except ValueError as error:  # a wrong length, no UTF-8
        raise BadEntry(str(error)) from None
    if not _holds(intent, raw.generation):
        raise BadEntry(_what_is_out_of_bounds(intent, raw.generation))
    return intent


def columns_of(intents: Iterable[Intent]) -> Columns:
    """``intents`` by column."""
    return [list(column) for column in zip(*intents, strict=True)]


def decode_all(entries: Sequence[Entry]) -> Columns:
    """What ``columns_of`` makes of every ``decode``, at a third of the cost: the common case.

    ``BadEntry`` where one of them keeps the contract in another way than lua/reserve.lua does, or
    not at all; ``decode`` tells which.
    """
    try:
        raw = unpack_intents([_only_value(entry) for entry in entries])
        (sales, accepted, due, generations, prices, quantities, *ids, addresses, skus) = raw
        orders, buyers, fingerprints = ids
        numbers = list(map(int, b"-".join([entry.entry_id for entry in entries]).split(b"-")))
        columns: Columns = [
            list(map(UUID, orders)),
            list(map(order_number, orders)),
            list(map(UUID, buyers)),
            _each_once(UUID, sales),
            _each_once(bytes.decode, skus),
            list(quantities),
            list(prices),
            [UUID(each) if each else None for each in addresses],
            list(fingerprints),
            list(accepted),
            list(due),
            numbers[::2],
            numbers[1::2],
        ]
    except ValueError as error:
        raise BadEntry(str(error)) from None
    if not _all_hold(columns, set(generations)):
        raise BadEntry("an entry is out of bounds")
    return columns


def _only_value(entry: Entry) -> bytes:
    name, value = entry.pairs
    if name != INTENT_FIELD:
        raise ValueError("an entry has another field")
    return value


def _each_once(read: Callable[[bytes], Any], values: Sequence[bytes]) -> list[Any]:
    """``read`` of each value, called once for those that are the same."""
    known = {value: read(value) for value in set(values)}
    return [known[value] for value in values]


def _all_hold(columns: Columns, generations: set[int]) -> bool:
    """``_holds`` of every row."""
    (*_, skus, quantities, prices, _, _, accepted, due, ms, seq) = columns
    return (
        all(map(_is_sku, set(skus)))
        and min(quantities) >= 1
        and max(quantities) <= QUANTITY_MAX
        and max(map(operator.mul, quantities, prices)) <= AMOUNT_MAX
        and min(accepted) >= 1
        and all(map(operator.le, accepted, due))
        and max(due) <= UNIX_MS_MAX
        and min(generations) >= 1
        and max(generations) <= GENERATION_MAX
        and min(ms) >= 0
        and max(ms) <= ENTRY_NUMBER_MAX
        and min(seq) >= 0
        and max(seq) <= ENTRY_NUMBER_MAX
    )


def _holds(intent: Intent, generation: int) -> bool:
    """Whether PostgreSQL's types can hold it: one expression, for every entry comes through."""
    return (
        _is_sku(intent.sku)
        and 1 <= intent.quantity <= QUANTITY_MAX
        and intent.quantity * intent.unit_price_amount <= AMOUNT_MAX
        and 1 <= intent.accepted_ms <= intent.due_ms <= UNIX_MS_MAX
        and 1 <= generation <= GENERATION_MAX
        and 0 <= intent.intent_ms <= ENTRY_NUMBER_MAX
        and 0 <= intent.intent_seq <= ENTRY_NUMBER_MAX
    )


def _what_is_out_of_bounds(intent: Intent, generation: int) -> str:
    """Words for what ``_holds`` refused."""
    for name, value, least, most in (
        ("quantity", intent.quantity, 1, QUANTITY_MAX),
        ("total", intent.quantity * intent.unit_price_amount, 0, AMOUNT_MAX),
        ("accepted_ms", intent.accepted_ms, 1, UNIX_MS_MAX),
        ("due_ms", intent.due_ms, intent.accepted_ms, UNIX_MS_MAX),
        ("generation", generation, 1, GENERATION_MAX),
        ("the entry's time", intent.intent_ms, 0, ENTRY_NUMBER_MAX),
        ("the entry's sequence", intent.intent_seq, 0, ENTRY_NUMBER_MAX),
    ):
        if not least <= value <= most:
            return f"{name} is {value}, not within {least} to {most}"
    return "sku is empty, too long or has a NUL in it"


def _sku_of(raw: bytes) -> str | None:
    try:
        sku = raw.decode()
    except ValueError:
        return None
    return sku if _is_sku(sku) else None


def _is_sku(sku: str) -> bool:
    return 0 < len(sku) <= SKU_CHARACTERS_MAX and "\0" not in sku
