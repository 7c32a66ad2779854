"""One shard's stream of intents, read as a member of the group ``orders``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from flashorder.consumer.entry import Entry
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import store_failures
from flashorder.infra.redis.lives import Life, Told
from flashorder.infra.redis.scripts import load_script

GROUP = "orders"
_BEGINNING = "0"
_NEW = ">"
_ALL_SEEN = b"0-0"


class IntentStream:
    """Reads, claims, acknowledges and trims. ``StoreUnavailable`` when the store is away.

    Acknowledgements are gathered by ``ack_with_next`` and sent along with the next read.
    """

    def __init__(self, redis: Redis, shard: int, consumer: str, *, entries_max: int) -> None:
        self.shard = shard
        self.key = keys.intents(shard)
        self._redis = redis
        # The same connections, but entries as they come: a dictionary each would cost as much as
        # all the rest of reading them.
        self._reader = Redis(connection_pool=redis.connection_pool)
        self._reader.set_response_callback("XREADGROUP", _as_it_came)
        self._consumer = consumer
        self._entries_max = entries_max
        self._to_ack: list[bytes] = []
        self._told = [Told()]
        self._claim_from: bytes = _ALL_SEEN
        self._forget_consumers = load_script("forget_consumers")

    @property
    def told(self) -> Sequence[Told]:
        """The highest entries that were read, by the server that had been verified last by then."""
        return self._told

    def settled(self, told: Sequence[Told], life: Life) -> None:
        """The server has all of ``told``, or it was given up: what others said is forgotten."""
        kept = [each for each in self._told if each.by == life.identity or each not in told]
        self._told = kept or [Told(life.identity)]

    @property
    def claim_goes_on(self) -> bool:
        """Whether ``claim`` has not looked at everything that is pending."""
        return self._claim_from != _ALL_SEEN

    async def create_group(self) -> None:
        """Make the group, from the first entry on, unless it is there."""
        with store_failures():
            try:
                await self._redis.xgroup_create(self.key, GROUP, id=_BEGINNING, mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def read_new(self, block_seconds: float | None = None) -> list[Entry]:
        """Entries that no consumer of the group has had; waits up to ``block_seconds`` for one."""
        return await self._read(_NEW, None if block_seconds is None else int(block_seconds * 1000))

    async def read_own(self) -> list[Entry]:
        """Entries this consumer had and did not acknowledge: of a former life, or of lost answers.

        One whose data is gone from the stream has no fields.
        """
        return await self._read(_BEGINNING, None)

    async def claim(self, idle_seconds: float) -> list[Entry]:
        """Take over entries that another consumer has held for ``idle_seconds``.

        The store looks through a bounded part of what is pending; ``claim_goes_on`` tells whether
        the next call will look further.
        """
        await self.flush_acks()
        with store_failures():
            reply = await self._redis.xautoclaim(
                self.key,
                GROUP,
                self._consumer,
                min_idle_time=int(idle_seconds * 1000),
                start_id=self._claim_from,
                count=self._entries_max,
            )
        self._claim_from = reply[0]
        return [Entry.of(entry_id, fields or {}) for entry_id, fields in reply[1] if entry_id]

    def ack_with_next(self, entries: Iterable[Entry]) -> None:
        """Remember to acknowledge ``entries``; only for what PostgreSQL has committed."""
        self._to_ack.extend(entry.entry_id for entry in entries)

    async def flush_acks(self) -> None:
        """Send what is to be acknowledged."""
        if acks := tuple(self._to_ack):
            with store_failures():
                await self._redis.xack(self.key, GROUP, *acks)
            self._acknowledged(acks)

    async def trim(self) -> int:
        """Drop what every group has read and acknowledged; returns how many entries that were.

        Below the watermark of a group nothing is pending and nothing is undelivered. The groups are
        read first and their pending entries after it: whatever is acknowledged in between can only
        make the watermark lower than it could be. A stream without a group is not trimmed.
        """
        with store_failures():
            groups = await self._groups()
            marks = [await self._watermark(group) for group in groups]
            if not marks:
                return 0
            milliseconds, sequence = min(marks)
            if (milliseconds, sequence) == (0, 0):
                return 0
            return int(
                await self._redis.xtrim(
                    self.key, minid=f"{milliseconds}-{sequence}", approximate=False
                )
            )

    async def lag(self) -> int:
        """Entries that the group has not acknowledged: delivered or not."""
        with store_failures():
            for group in await self._groups():
                if group["name"] == GROUP.encode():
                    return int(group["pending"]) + int(group["lag"] or 0)
        return 0

    async def leave(self) -> None:
        """Take this consumer's name off the group, unless it still holds entries."""
        with store_failures():
            held = await self._redis.xpending_range(
                self.key, GROUP, min="-", max="+", count=1, consumername=self._consumer
            )
            if not held:
                await self._redis.xgroup_delconsumer(self.key, GROUP, self._consumer)

    async def forget_dead(self, idle_seconds: float) -> int:
        """Take names off the group that were silent for ``idle_seconds`` and hold no entries.

        A consumer that lives and is taken for dead has its name back with its next read.
        """
        with store_failures():
            return int(
                await self._forget_consumers(
                    self._redis, (self.key,), (GROUP, int(idle_seconds * 1000))
                )
            )

    async def _read(self, start: str, block_ms: int | None) -> list[Entry]:
        acks = tuple(self._to_ack)
        with store_failures():
            # Not a MULTI: a read that waits would not wait inside of one.
            async with self._reader.pipeline(transaction=False) as pipe:
                if acks:
                    pipe.xack(self.key, GROUP, *acks)
                pipe.xreadgroup(
                    GROUP,
                    self._consumer,
                    {self.key: start},
                    count=self._entries_max,
                    block=block_ms,
                )
                # Behind the read: a server that is verified meanwhile is the one that was read.
                pipe.hget(keys.life(self.shard), "identity")
                replies = await pipe.execute()
        self._acknowledged(acks)
        entries = _entries(replies[-2])
        self._hear(replies[-1] or b"", entries)
        return entries

    def _hear(self, by: bytes, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        if self._told[-1].by != by:
            self._told.append(Told(by))
        self._told[-1].highest = max(entries[-1].entry_id, self._told[-1].highest, key=_parse_id)

    def _acknowledged(self, acks: Sequence[bytes]) -> None:
        """``acks`` were sent; what has been committed since then stands behind them and was not."""
        del self._to_ack[: len(acks)]

    async def _groups(self) -> list[dict[str, Any]]:
        try:
            groups: list[dict[str, Any]] = await self._redis.xinfo_groups(self.key)
        except ResponseError as error:
            if "no such key" in str(error):
                return []
            raise
        return groups

    async def _watermark(self, group: dict[str, Any]) -> tuple[int, int]:
        """The first id that the group still needs."""
        pending = await self._redis.xpending(self.key, group["name"])
        if pending["pending"]:
            return _parse_id(pending["min"])
        milliseconds, sequence = _parse_id(group["last-delivered-id"])
        return (milliseconds, sequence + 1) if (milliseconds, sequence) != (0, 0) else (0, 0)


def _parse_id(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)


def _as_it_came(response: Any, **_: Any) -> Any:
    return response


def _entries(reply: Any) -> list[Entry]:
    """The entries of an XREADGROUP of one stream: by protocol 3 a mapping, by 2 a list of pairs."""
    if not reply:
        return []
    entries = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
    return [Entry(entry_id, pairs or ()) for entry_id, pairs in entries]
