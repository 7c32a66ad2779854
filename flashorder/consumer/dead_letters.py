"""Entries that no order could be made of: taken up again, or given up, once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import asyncpg

from flashorder.consumer.entry import BadEntry, Entry, decode
from flashorder.consumer.placing import (
    ERROR_CHARACTERS_MAX,
    REFUSALS,
    SQL,
    decode_fields,
    place_intents,
)
from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import Connection, Pool, database_failures, transaction
from flashorder.kernel.errors import Conflict, InvalidState, NotFound
from flashorder.kernel.events import Event, Topic
from flashorder.reservations.ports import Holds

_HOLD_OF_THE_CLICK = 1


class DeadLetters:
    """Until an operator decides, the units of a dead letter stay taken: nothing is oversold."""

    def __init__(self, pool: Pool, holds: Holds) -> None:
        self._pool = pool
        self._holds = holds

    async def page(
        self, status: str | None, before_id: uuid.UUID | None, letters_max: int
    ) -> Sequence[asyncpg.Record]:
        """Newest first, from below ``before_id`` on."""
        with database_failures():
            return await self._pool.fetch(SQL["list_dead_letters"], status, before_id, letters_max)

    async def read(self, dead_letter_id: uuid.UUID) -> asyncpg.Record:
        """One of them, or ``NotFound``."""
        with database_failures():
            row = await self._pool.fetchrow(SQL["read_dead_letter"], dead_letter_id)
        if row is None:
            raise NotFound(code="dead_letter_not_found")
        return row

    async def retry(self, dead_letter_id: uuid.UUID, operator_id: uuid.UUID) -> None:
        """Make the order now, from the fields as they came; exactly once.

        Raises ``Conflict`` (``dead_letter_refused``) when it cannot be made this time either: the
        letter stays held with the new reason. ``InvalidState`` when it was decided on before.
        """
        try:
            async with transaction(self._pool) as connection:
                # First, so that the placing no longer passes over the entry as put aside.
                row = await self._close(connection, dead_letter_id, "retried", operator_id)
                entry_id = f"{row['intent_ms']}-{row['intent_seq']}".encode()
                intent = decode(Entry.of(entry_id, decode_fields(row["fields"])))
                await place_intents(connection, row["shard"], [intent])
        except (BadEntry, *REFUSALS) as error:
            why = str(error).replace("\0", "\\0")[:ERROR_CHARACTERS_MAX]
            with database_failures():
                await self._pool.execute(SQL["set_dead_letter_error"], dead_letter_id, why)
            raise Conflict(
                f"No order can be made of it: {why}", code="dead_letter_refused"
            ) from error

    async def discard(self, dead_letter_id: uuid.UUID, operator_id: uuid.UUID) -> None:
        """Give it up; its units go back to the front through the outbox.

        They do not when an order stands on them after all, or when the entry does not say whose
        they are. ``InvalidState`` when it was decided on before.
        """
        async with transaction(self._pool) as connection:
            row = await self._close(connection, dead_letter_id, "discarded", operator_id)
            if None in (row["order_id"], row["sale_id"], row["buyer_id"]):
                return
            if await connection.fetchval(SQL["order_stands"], row["order_id"]):
                return
            payload = {
                "dead_letter_id": str(dead_letter_id),
                "order_id": str(row["order_id"]),
                "sale_id": str(row["sale_id"]),
                "buyer_id": str(row["buyer_id"]),
                "lines": [{"sku": row["sku"], "quantity": row["quantity"]}],
            }
            await publish(connection, [Event(Topic.DEAD_LETTER_DISCARDED, dead_letter_id, payload)])

    async def discarded(self, event: Event) -> None:
        """Handle DEAD_LETTER_DISCARDED: the front gives the units back; safe to repeat."""
        await self._holds.release(
            uuid.UUID(event.payload["sale_id"]),
            uuid.UUID(event.payload["order_id"]),
            uuid.UUID(event.payload["buyer_id"]),
            _HOLD_OF_THE_CLICK,
        )
        with database_failures():
            await self._pool.execute(SQL["set_dead_letter_released"], event.key)

    async def _close(
        self,
        connection: Connection,
        dead_letter_id: uuid.UUID,
        status: str,
        operator_id: uuid.UUID,
    ) -> asyncpg.Record:
        row = await connection.fetchrow(
            SQL["close_dead_letter"], dead_letter_id, status, operator_id
        )
        if row is None:
            before = await self.read(dead_letter_id)
            raise InvalidState(f"the dead letter is {before['status']} already")
        return row
