"""What the intents streams hold that nobody has acknowledged: read in pages, bounded."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.keys import intents
from flashorder.kernel.intents import INTENT_FIELD, unpack_intent

GROUP = "orders"
PAGE_ENTRIES = 1000
# Some 100 bytes each here: enough for minutes of a database that is away, and no danger to memory.
ENTRIES_MAX = 500_000


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One intent: where it stands, and what it took. Unreadable fields: ``sku`` is empty."""

    shard: int
    ms: int
    seq: int
    sale_id: uuid.UUID | None
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """The consumer group of one shard; every count is 0 where all is done."""

    shard: int
    exists: bool
    entries: int
    pending: int
    unread: int
    lowest_unacknowledged: tuple[int, int]


async def group_state(redis: Redis, shard: int) -> GroupState:
    """How far the consumers are; everything below ``lowest_unacknowledged`` is acknowledged.

    An entry is acknowledged only after its transaction was committed, so what this leaves out is
    in PostgreSQL by the time that this returns.
    """
    key = intents(shard)
    with store_failures():
        async with redis.pipeline(transaction=True) as pipe:
            pipe.xlen(key)
            pipe.xinfo_groups(key)
            pipe.xpending(key, GROUP)
            length, groups, pending = await pipe.execute(raise_on_error=False)
    if isinstance(groups, ResponseError):  # no stream: nobody has bought in this shard yet
        return GroupState(shard, False, 0, 0, 0, (0, 0))
    group = next((_plain(each) for each in groups if _name(each) == GROUP), None)
    if group is None:
        return GroupState(shard, False, length, 0, length, (0, 0))
    count = int(pending["pending"])
    delivered_ms, delivered_seq = parse_entry_id(group["last-delivered-id"])
    lowest = (delivered_ms, delivered_seq + 1)
    if count:
        lowest = min(lowest, parse_entry_id(pending["min"]))
    lag = group.get("lag")
    # The lag is unknown after an XDEL between the entries; then the stream itself is asked.
    unread = int(lag) if lag is not None else await _count_from(redis, shard, lowest)
    return GroupState(shard, True, length, count, unread, lowest)


async def read_entries(
    redis: Redis, shard: int, first: tuple[int, int], last: tuple[int, int]
) -> AsyncIterator[list[StreamEntry]]:
    """The entries from ``first`` to ``last``, both included, a page at a time."""
    while first <= last:
        with store_failures():
            raw = await redis.xrange(intents(shard), _text(first), _text(last), count=PAGE_ENTRIES)
        if not raw:
            return
        page = [_entry(shard, entry_id, fields) for entry_id, fields in raw]
        yield page
        if len(raw) < PAGE_ENTRIES:
            return
        first = (page[-1].ms, page[-1].seq + 1)


def parse_entry_id(raw: Any) -> tuple[int, int]:
    """``b"1700000000000-3"`` as (ms, seq)."""
    text = raw.decode() if isinstance(raw, bytes) else str(raw)
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)


def as_bigint(number: int) -> int:
    """Half of an entry's id as a bigint column keeps it: the store counts to 2^64.

    Only an entry that was not made by ``XADD *`` has such a number; it is kept all the same.
    """
    return number if number < 2**63 else number - 2**64


def unread_total(states: Iterable[GroupState]) -> int:
    """Entries that no consumer has finished, over all shards."""
    return sum(each.pending + each.unread for each in states)


async def _count_from(redis: Redis, shard: int, first: tuple[int, int]) -> int:
    count = 0
    async for page in read_entries(redis, shard, first, (2**63 - 1, 2**63 - 1)):
        count += len(page)
        if count >= ENTRIES_MAX:
            break
    return count


def _entry(shard: int, entry_id: Any, fields: Any) -> StreamEntry:
    ms, seq = parse_entry_id(entry_id)
    try:
        raw = unpack_intent(fields[INTENT_FIELD])
        sale_id = uuid.UUID(bytes=raw.sale_id)
        return StreamEntry(shard, ms, seq, sale_id, raw.sku.decode(), raw.quantity)
    except (KeyError, ValueError, TypeError, AttributeError):
        return StreamEntry(shard, ms, seq, None, "", 0)


def _plain(group: dict[Any, Any]) -> dict[str, Any]:
    return {(name.decode() if isinstance(name, bytes) else name): v for name, v in group.items()}


def _name(group: dict[Any, Any]) -> str:
    name = _plain(group)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def _text(entry_id: tuple[int, int]) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"
