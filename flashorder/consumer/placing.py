"""A batch of entries becomes orders: whole if it can, halved until what cannot stands alone."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from flashorder.consumer.entry import (
    BadEntry,
    Columns,
    Entry,
    Intent,
    claim_of,
    columns_of,
    decode,
    decode_all,
)
from flashorder.infra.postgres.pool import Connection, Pool, transaction
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory.reconciliation.stream import as_bigint
from flashorder.kernel.errors import Conflict
from flashorder.kernel.identifiers import new_id
from flashorder.orders.store import UnitsRefused, raise_committed

log = structlog.get_logger(__name__)

SQL = load_sql("flashorder.consumer")
# What was never placed needs no look for conflicts, which would cost a fifth more (three more
# descents of indexes a row, and a tentative row that is confirmed): it fails if there is one.
PLACE_FIRST = SQL["place_orders"].replace("ON CONFLICT DO NOTHING", "")
ERROR_CHARACTERS_MAX = 500


class EntryRefused(Conflict):
    """Another order stands where this one should."""

    default_code = "entry_refused"


REFUSALS = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    UnitsRefused,
    EntryRefused,
)
"""What the entries themselves are to blame for. Everything else is the weather: try again."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a batch: new orders, and entries put aside. The rest was there before."""

    orders: int
    put_aside: int


class Placing:
    """Places batches of one shard's entries; the same batch again changes nothing."""

    def __init__(self, pool: Pool, shard: int) -> None:
        self._pool = pool
        self._shard = shard

    async def place(self, entries: Sequence[Entry], *, delivered_before: bool = False) -> Placed:
        """Apply every entry, or put it aside; all of it is committed on return.

        Entries that were ``delivered_before`` may be orders already; of the others that is not
        expected, and costs a second try where it is so. Raises what is not the entries' fault
        (``DatabaseUnavailable``, a deadlock, a full disk); some of the batch may be applied then,
        and all of it may be placed again.
        """
        if not entries:
            return Placed(0, 0)
        aside: list[tuple[Entry, str]] = []
        try:
            columns = decode_all(entries)
        except BadEntry:
            entries, columns, aside = _sift(entries)
        orders, refused = await self._place_or_halve(columns, delivered_before)
        aside += [(entries[at], why) for at, why in refused]
        return Placed(orders, await self._put_aside(aside) if aside else 0)

    async def _place_or_halve(
        self, columns: Columns, perhaps_placed: bool
    ) -> tuple[int, list[tuple[int, str]]]:
        """Orders made, and which rows were refused when tried alone, with the reason."""
        orders = 0
        refused: list[tuple[int, str]] = []
        parts = [range(len(columns[0]))] if columns else []
        while parts:
            part = parts.pop()
            rows = [column[part.start : part.stop] for column in columns]
            try:
                async with transaction(self._pool) as connection:
                    orders += await place_columns(
                        connection, self._shard, rows, perhaps_placed=perhaps_placed
                    )
            except REFUSALS as error:
                if isinstance(error, asyncpg.UniqueViolationError) and not perhaps_placed:
                    perhaps_placed = True
                    parts.append(part)
                elif len(part) == 1:
                    refused.append((part.start, str(error)))
                else:
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]  # the earlier half is tried first
        return orders, refused

    async def _put_aside(self, aside: Sequence[tuple[Entry, str]]) -> int:
        """Keep what cannot be placed; returns how many were not kept, or placed, before.

        Whatever the columns refuse, this is not what stops the shard: a row that cannot be written
        with all that its entry says is written with its place in the stream alone.
        """
        try:
            kept = await self._keep([self._row(entry, why) for entry, why in aside])
        except REFUSALS:
            kept = sum([await self._keep_alone(entry, why) for entry, why in aside])
        for entry, why in aside:
            log.error("entry_put_aside", entry=entry.entry_id.decode(), error=why)
        return kept

    async def _keep(self, rows: Sequence[tuple[Any, ...]]) -> int:
        async with transaction(self._pool) as connection:
            await connection.execute(SQL["lock_to_put_aside"], self._shard)
            return len(await connection.fetchmany(SQL["put_aside"], rows))

    async def _keep_alone(self, entry: Entry, why: str) -> int:
        try:
            return await self._keep([self._row(entry, why)])
        except REFUSALS as error:
            bare = Entry(entry.entry_id, ())
            log.error("entry_kept_bare", entry=entry.entry_id.decode(), fields=repr(entry.fields))
            return await self._keep([self._row(bare, f"{why}; not even kept: {error}")])

    def _row(self, entry: Entry, why: str) -> tuple[Any, ...]:
        return (
            new_id(),
            self._shard,
            *(as_bigint(number) for number in entry.intent),
            *claim_of(entry.fields),
            encode_fields(entry.fields),
            why.replace("\0", "\\0")[:ERROR_CHARACTERS_MAX],
        )


async def place_intents(connection: Connection, shard: int, intents: Iterable[Intent]) -> int:
    """``place_columns`` of ``intents``, which may be orders already."""
    return await place_columns(connection, shard, columns_of(intents))


async def place_columns(
    connection: Connection, shard: int, columns: Columns, *, perhaps_placed: bool = True
) -> int:
    """Make orders of intents in the transaction that is open; returns how many are new.

    Raises one of ``REFUSALS`` when the batch as a whole cannot be, whichever entry it is; without
    ``perhaps_placed`` an order that is there already is one of them.
    """
    statement = SQL["place_orders"] if perhaps_placed else PLACE_FIRST
    await connection.execute(SQL["lock_to_place"], shard)
    placed = await connection.fetch(statement, *columns, shard)
    orders = sum(row["orders"] for row in placed)
    if orders < len(columns[0]):
        await _explain_missing(connection, shard, columns)
    await raise_committed(
        connection, {(row["sale_id"], row["sku"]): row["quantity"] for row in placed}
    )
    return int(orders)


async def _explain_missing(connection: Connection, shard: int, columns: Columns) -> None:
    """Every entry that made no order must have made it before, or been put aside."""
    of = dict(zip(Intent._fields, columns, strict=True))
    strangers = await connection.fetch(
        SQL["unexplained"],
        of["order_id"],
        of["buyer_id"],
        of["sale_id"],
        of["fingerprint"],
        of["intent_ms"],
        of["intent_seq"],
        shard,
    )
    if strangers:
        raise EntryRefused(f"another order has the place of {strangers[0]['order_id']}")
    await connection.execute(SQL["extend_due"], of["order_id"], of["due_ms"])


def _sift(
    entries: Sequence[Entry],
) -> tuple[list[Entry], Columns, list[tuple[Entry, str]]]:
    """The entries that can be read, what they say, and those that cannot with the reason."""
    good: list[Entry] = []
    intents: list[Intent] = []
    bad: list[tuple[Entry, str]] = []
    for entry in entries:
        try:
            intents.append(decode(entry))
        except BadEntry as error:
            bad.append((entry, error.detail))
        else:
            good.append(entry)
    return good, columns_of(intents), bad


def encode_fields(fields: Any) -> dict[str, str]:
    """The entry's fields for a JSON column; values in base64."""
    return {
        name.decode(errors="backslashreplace").replace("\0", "\\0"): base64.b64encode(
            value
        ).decode()
        for name, value in fields.items()
    }


def decode_fields(kept: dict[str, str]) -> dict[bytes, bytes]:
    """The reverse of ``encode_fields``."""
    return {name.encode(): base64.b64decode(value) for name, value in kept.items()}
