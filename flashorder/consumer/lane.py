"""One shard's lane: which entries come next, and whether to read on before they are placed."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import NamedTuple

from flashorder.consumer.entry import Entry
from flashorder.consumer.placing import Placing
from flashorder.consumer.stream import IntentStream
from flashorder.settings import Settings


class Batch(NamedTuple):
    """Entries to be placed together; ``delivered_before`` where they may be orders already."""

    entries: Sequence[Entry]
    delivered_before: bool


class Lane:
    """One shard: its stream, and where to look for entries next."""

    def __init__(self, stream: IntentStream, placing: Placing, settings: Settings) -> None:
        self.stream = stream
        self.placing = placing
        self._entries_max = settings.consumer_batch_entries_max
        self._claim_idle_seconds = settings.consumer_claim_idle_seconds
        self._claim_at = 0.0
        self.interrupted()

    def interrupted(self) -> None:
        """An answer may be lost: begin again with the group and with what we were given."""
        self._group_exists = False
        self._own_read = False
        self._backlog = False

    @property
    def may_read_ahead(self) -> bool:
        """Whether to read on while a batch is still being placed.

        Only where there is a backlog: else a batch that waits a little is a larger one. And not
        where our own or a dead consumer's entries are next: what is in hand would be among them.
        """
        return self._backlog and time.monotonic() < self._claim_at

    async def next(self, block_seconds: float | None) -> Batch:
        """Our own leftovers, then those of the dead, then what is new; no batch is in hand."""
        if not self._group_exists:
            await self.stream.create_group()
            self._group_exists = True
        if not self._own_read:
            if entries := await self.stream.read_own():
                return Batch(entries, delivered_before=True)
            self._own_read = True
        if time.monotonic() >= self._claim_at:
            entries = await self.stream.claim(self._claim_idle_seconds)
            if not self.stream.claim_goes_on:
                pause = self._claim_idle_seconds * random.uniform(0.4, 0.6)
                self._claim_at = time.monotonic() + pause
            if entries:
                return Batch(entries, delivered_before=True)
        return await self._new(block_seconds)

    async def read_ahead(self) -> Batch:
        """What is new, without waiting for it; while ``may_read_ahead``."""
        return await self._new(None)

    def done(self, batch: Batch) -> None:
        """``batch`` is committed."""
        self.stream.ack_with_next(batch.entries)

    async def _new(self, block_seconds: float | None) -> Batch:
        entries = await self.stream.read_new(block_seconds)
        self._backlog = len(entries) == self._entries_max
        return Batch(entries, delivered_before=False)
