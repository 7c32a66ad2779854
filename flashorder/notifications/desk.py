"""Events that keep failing: seen, tried again, or given up by an operator, who is written down."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from enum import StrEnum

import asyncpg

from flashorder.infra.postgres.pool import Pool, database_failures, reading
from flashorder.kernel.errors import InvalidState, NotFound
from flashorder.notifications.relay import SQL


class EventStatus(StrEnum):
    """waiting → processed; waiting → failing → processed, discarded."""

    WAITING = "waiting"
    FAILING = "failing"
    PROCESSED = "processed"
    DISCARDED = "discarded"


class OutboxDesk:
    """What the relay goes on trying by itself, an operator may hasten or end."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(
        self, status: str | None, before_id: int | None, events_max: int
    ) -> Sequence[asyncpg.Record]:
        """Those that fail or were discarded, newest first, from below ``before_id`` on."""
        async with reading(self._pool) as connection:
            return await connection.fetch(SQL["list_failed"], status, before_id, events_max)

    async def read(self, event_id: int) -> asyncpg.Record:
        """One of them, whatever its status, or ``NotFound``."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(SQL["read_event"], event_id)
        if row is None:
            raise NotFound(code="event_not_found")
        return row

    async def retry(self, event_id: int, operator_id: uuid.UUID) -> None:
        """Have it tried now, its backoff from the beginning. ``InvalidState`` if not failing."""
        await self._decide("retry_failed", event_id, operator_id)

    async def discard(self, event_id: int, operator_id: uuid.UUID) -> None:
        """Give it up, so that the next of its key comes. ``InvalidState`` if not failing."""
        await self._decide("discard_failed", event_id, operator_id)

    async def _decide(self, statement: str, event_id: int, operator_id: uuid.UUID) -> None:
        with database_failures():
            decided = await self._pool.fetchval(SQL[statement], event_id, operator_id)
        if decided is None:
            event = await self.read(event_id)
            raise InvalidState(f"the event is {event['status']}")
