"""The writing half of the outbox: with the transaction, or not at all."""

from __future__ import annotations

import uuid

import pytest

from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import connect_postgres, transaction
from flashorder.kernel.events import Event, Topic


async def test_events_come_with_the_transaction_or_not_at_all(database_url: str) -> None:
    pool = await connect_postgres(database_url)
    key = uuid.uuid4()
    events = [
        Event(Topic.ORDER_PAID, key, {"order_id": str(key), "version": number})
        for number in range(3)
    ]
    async with transaction(pool) as connection:
        await publish(connection, events)
        await publish(connection, [])

    async def fail_after_publishing() -> None:
        async with transaction(pool) as connection:
            await publish(connection, events)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_publishing()
    rows = await pool.fetch("SELECT topic, key, payload FROM outbox ORDER BY event_id")
    assert [(row["topic"], row["key"], row["payload"]["version"]) for row in rows] == [
        ("order.paid", key, number) for number in range(3)
    ]
    await pool.close()
