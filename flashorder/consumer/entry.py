"""An entry of the intents stream, as ARCHITECTURE.md lays it down. Pure."""

from __future__ import annotations

import itertools
import operator
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from asyncpg.pgproto.pgproto import UUID  # a uuid.UUID, made and sent ten times faster

from flashorder.kernel.errors import FlashorderError
from flashorder.kernel.identifiers import FINGERPRINT_BYTES, order_number

SKU_CHARACTERS_MAX = 256
QUANTITY_MAX = 2**31 - 1
AMOUNT_MAX = 10**15
UNIX_MS_MAX = 253_402_300_799_999  # the end of the year 9999, as far as a timestamp is sensible
GENERATION_MAX = 2**31 - 1
ENTRY_NUMBER_MAX = 2**63 - 1  # the store counts to 2^64, a bigint does not

NAMES = (
    b"order_id",
    b"buyer_id",
    b"sale_id",
    b"sku",
    b"quantity",
    b"unit_price",
    b"address_id",
    b"fingerprint",
    b"accepted_ms",
    b"due_ms",
    b"generation",
)
"""The fields, in the order in which lua/reserve.lua writes them."""

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
    """Whatever of it can be read, each field for itself: the units are taken all the same."""
    return Claim(
        _id_in(fields, b"order_id"),
        _id_in(fields, b"sale_id"),
        _id_in(fields, b"buyer_id"),
        _sku_in(fields),
        _quantity_in(fields),
    )


def decode(entry: Entry) -> Intent:
    """Read ``entry``; ``BadEntry`` says what is wrong with it."""
    fields = entry.fields
    try:
        order_id = fields[b"order_id"]
        address_id = fields[b"address_id"]
        intent_ms, intent_seq = entry.intent
        intent = Intent(
            uuid.UUID(bytes=order_id),
            order_number(order_id),
            uuid.UUID(bytes=fields[b"buyer_id"]),
            uuid.UUID(bytes=fields[b"sale_id"]),
            fields[b"sku"].decode(),
            int(fields[b"quantity"]),
            int(fields[b"unit_price"]),
            uuid.UUID(bytes=address_id) if address_id else None,
            fields[b"fingerprint"],
            int(fields[b"accepted_ms"]),
            int(fields[b"due_ms"]),
            intent_ms,
            intent_seq,
        )
        generation = int(fields[b"generation"])
    except KeyError as error:
        raise BadEntry(f"field {error.args[0].decode()} is missing") from None
    except ValueError as error:  # a wrong length, no number, no UTF-8
        raise BadEntry(str(error)) from None
    if not _holds(intent, generation):
        raise BadEntry(_what_is_out_of_bounds(intent, generation))
    return intent


def columns_of(intents: Iterable[Intent]) -> Columns:
    """``intents`` by column."""
    return [list(column) for column in zip(*intents, strict=True)]


def decode_all(entries: Sequence[Entry]) -> Columns:
    """What ``columns_of`` makes of every ``decode``, at a third of the cost: the common case.

    ``BadEntry`` where one of them keeps the contract in another way than lua/reserve.lua does, or
    not at all; ``decode`` tells which.
    """
    width = 2 * len(NAMES)
    if any(len(entry.pairs) != width for entry in entries):
        raise BadEntry("an entry has other fields")
    flat = list(itertools.chain.from_iterable(entry.pairs for entry in entries))
    values = {}
    for at, name in enumerate(NAMES):
        if flat[2 * at :: width].count(name) != len(entries):
            raise BadEntry("an entry has other fields")
        values[name] = flat[2 * at + 1 :: width]
    try:
        ids = list(map(int, b"-".join([entry.entry_id for entry in entries]).split(b"-")))
        columns: Columns = [
            list(map(UUID, values[b"order_id"])),
            list(map(order_number, values[b"order_id"])),
            list(map(UUID, values[b"buyer_id"])),
            _each_once(UUID, values[b"sale_id"]),
            _each_once(bytes.decode, values[b"sku"]),
            _each_once(int, values[b"quantity"]),
            _each_once(int, values[b"unit_price"]),
            [UUID(value) if value else None for value in values[b"address_id"]],
            values[b"fingerprint"],
            _each_once(int, values[b"accepted_ms"]),
            _each_once(int, values[b"due_ms"]),
            ids[::2],
            ids[1::2],
        ]
        generations = set(map(int, set(values[b"generation"])))
    except ValueError as error:
        raise BadEntry(str(error)) from None
    if not _all_hold(columns, generations):
        raise BadEntry("an entry is out of bounds")
    return columns


def _each_once(read: Callable[[bytes], Any], values: Sequence[bytes]) -> list[Any]:
    """``read`` of each value, called once for those that are the same."""
    known = {value: read(value) for value in set(values)}
    return [known[value] for value in values]


def _all_hold(columns: Columns, generations: set[int]) -> bool:
    """``_holds`` of every row."""
    (*_, skus, quantities, prices, _, fingerprints, accepted, due, ms, seq) = columns
    return (
        all(map(_is_sku, set(skus)))
        and set(map(len, fingerprints)) == {FINGERPRINT_BYTES}
        and min(quantities) >= 1
        and max(quantities) <= QUANTITY_MAX
        and min(prices) >= 0
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
        and len(intent.fingerprint) == FINGERPRINT_BYTES
        and 1 <= intent.quantity <= QUANTITY_MAX
        and intent.unit_price_amount >= 0
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
        ("unit_price", intent.unit_price_amount, 0, AMOUNT_MAX),
        ("total", intent.quantity * intent.unit_price_amount, 0, AMOUNT_MAX),
        ("accepted_ms", intent.accepted_ms, 1, UNIX_MS_MAX),
        ("due_ms", intent.due_ms, intent.accepted_ms, UNIX_MS_MAX),
        ("generation", generation, 1, GENERATION_MAX),
        ("the entry's time", intent.intent_ms, 0, ENTRY_NUMBER_MAX),
        ("the entry's sequence", intent.intent_seq, 0, ENTRY_NUMBER_MAX),
    ):
        if not least <= value <= most:
            return f"{name} is {value}, not within {least} to {most}"
    if len(intent.fingerprint) != FINGERPRINT_BYTES:
        return f"fingerprint is not {FINGERPRINT_BYTES} bytes"
    return "sku is empty, too long or has a NUL in it"


def _id_in(fields: Fields, name: bytes) -> uuid.UUID | None:
    value = fields.get(name, b"")
    return uuid.UUID(bytes=value) if len(value) == 16 else None


def _sku_in(fields: Fields) -> str | None:
    try:
        sku = fields[b"sku"].decode()
    except (KeyError, ValueError):
        return None
    return sku if _is_sku(sku) else None


def _quantity_in(fields: Fields) -> int | None:
    try:
        quantity = int(fields[b"quantity"])
    except (KeyError, ValueError):
        return None
    return quantity if 1 <= quantity <= QUANTITY_MAX else None


def _is_sku(sku: str) -> bool:
    return 0 < len(sku) <= SKU_CHARACTERS_MAX and "\0" not in sku
