"""The writing half of the outbox; ``flashorder.notifications`` reads it."""

from __future__ import annotations

from collections.abc import Iterable

from flashorder.infra.postgres.pool import Connection
from flashorder.kernel.events import Event

_PUBLISH = """
INSERT INTO outbox (topic, key, payload)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::jsonb[])
"""


async def publish(connection: Connection, events: Iterable[Event]) -> None:
    """Append ``events`` within the transaction that is open on ``connection``."""
    batch = list(events)
    if batch:
        await connection.execute(
            _PUBLISH,
            [event.topic for event in batch],
            [event.key for event in batch],
            [dict(event.payload) for event in batch],
        )
