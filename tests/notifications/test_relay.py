"""Each event reaches its handlers, in order per key, whoever fails or dies."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import Pool, transaction
from flashorder.kernel.events import Event, Handler, Topic
from flashorder.kernel.identifiers import new_id
from flashorder.notifications.jobs import measure, prune
from flashorder.notifications.metrics import OutboxMetrics
from flashorder.notifications.relay import (
    BACKOFF_SECONDS_MAX,
    SQL,
    OutboxRelay,
    backoff_seconds,
)
from flashorder.settings import Settings


def relay(
    pool: Pool, subscriptions: Mapping[Topic, Sequence[Handler]], **changes: float
) -> OutboxRelay:
    values = {"outbox_poll_seconds": 0.01, "secret": "of the tests"} | changes
    return OutboxRelay(pool, subscriptions, Settings(**values))  # type: ignore[arg-type]


async def say(pool: Pool, topic: Topic, key: uuid.UUID, *numbers: int) -> None:
    async with transaction(pool) as connection:
        await publish(connection, [Event(topic, key, {"n": number}) for number in numbers])


class Ears:
    """A handler that remembers; ``deaf`` keys fail, ``gate`` holds everything up."""

    def __init__(self) -> None:
        self.heard: dict[uuid.UUID, list[int]] = defaultdict(list)
        self.deaf: set[uuid.UUID] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.most_at_once = self._now = 0

    async def __call__(self, event: Event) -> None:
        assert event.event_id > 0
        self.began.set()
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if event.key in self.deaf:
                raise ValueError("did not\0hear")
            self.heard[event.key].append(event.payload["n"])
        finally:
            self._now -= 1


async def until(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


async def test_events_are_handled_once_in_order_and_marked(pool: Pool) -> None:
    ears, keys = Ears(), [new_id() for _ in range(5)]
    for key in keys:
        await say(pool, Topic.ORDER_PAID, key, 1, 2, 3)
    assert await relay(pool, {Topic.ORDER_PAID: [ears]}).relay_all() == 15
    assert ears.heard == {key: [1, 2, 3] for key in keys}
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE processed_at IS NULL") == 0


async def test_every_handler_of_a_topic_is_called_and_none_is_fine(pool: Pool) -> None:
    first, second, key = Ears(), Ears(), new_id()
    await say(pool, Topic.ORDER_PAID, key, 1)
    await say(pool, Topic.ORDER_SHIPPED, key, 2)
    assert await relay(pool, {Topic.ORDER_PAID: [first, second]}).relay_all() == 2
    assert first.heard == second.heard == {key: [1]}


async def test_a_failing_key_waits_and_delays_nobody_else(pool: Pool) -> None:
    ears, bad, good = Ears(), new_id(), new_id()
    ears.deaf.add(bad)
    await say(pool, Topic.ORDER_PAID, bad, 1, 2)
    await say(pool, Topic.ORDER_PAID, good, 1, 2)
    stopping = asyncio.Event()
    running = asyncio.create_task(relay(pool, {Topic.ORDER_PAID: [ears]}).run(stopping))
    try:
        await until(lambda: ears.heard[good] == [1, 2])
        row = await _first(pool, bad)
        deadline = time.monotonic() + 5
        while row["attempts"] < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
            row = await _first(pool, bad)
        assert "ValueError" in row["last_error"]
        assert ears.heard[bad] == []
        ears.deaf.clear()
        await until(lambda: ears.heard[bad] == [1, 2])
    finally:
        stopping.set()
        await running
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE last_error IS NOT NULL") == 0


async def _first(pool: Pool, key: uuid.UUID):  # type: ignore[no-untyped-def]
    return await pool.fetchrow("SELECT * FROM outbox WHERE key = $1 ORDER BY event_id LIMIT 1", key)


async def test_what_a_dead_relay_held_comes_back_after_its_lease(pool: Pool) -> None:
    dead, ears, key = Ears(), Ears(), new_id()
    dead.gate.clear()
    await say(pool, Topic.ORDER_PAID, key, 1, 2)
    killed = asyncio.create_task(
        relay(pool, {Topic.ORDER_PAID: [dead]}, outbox_lease_seconds=0.5).relay_once()
    )
    await dead.began.wait()
    other = relay(pool, {Topic.ORDER_PAID: [ears]})
    assert await other.relay_once() == 0, "leased: neither it nor what comes after it"
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    deadline = time.monotonic() + 5
    while not await other.relay_all():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert ears.heard[key] == [1, 2]


async def test_a_handler_that_hangs_is_cut_off_within_the_lease(pool: Pool) -> None:
    ears, key = Ears(), new_id()
    ears.gate.clear()
    await say(pool, Topic.ORDER_PAID, key, 1)
    assert await relay(pool, {Topic.ORDER_PAID: [ears]}, outbox_lease_seconds=0.2).relay_once() == 1
    assert "TimeoutError" in (await _first(pool, key))["last_error"]


async def test_several_relays_keep_the_order_of_each_key(pool: Pool) -> None:
    ears, keys = Ears(), [new_id() for _ in range(20)]
    for number in range(10):
        async with transaction(pool) as connection:
            await publish(connection, [Event(Topic.ORDER_PAID, key, {"n": number}) for key in keys])
    stopping = asyncio.Event()
    running = [
        asyncio.create_task(
            relay(pool, {Topic.ORDER_PAID: [ears]}, outbox_handlers_max=3).run(stopping)
        )
        for _ in range(3)
    ]
    try:
        await until(lambda: sum(map(len, ears.heard.values())) >= 200)
    finally:
        stopping.set()
        await asyncio.gather(*running)
    assert ears.heard == {key: list(range(10)) for key in keys}
    assert ears.most_at_once <= 9


async def test_stopping_finishes_and_marks_what_is_in_hand(pool: Pool) -> None:
    ears, key = Ears(), new_id()
    ears.gate.clear()
    await say(pool, Topic.ORDER_PAID, key, 1, 2)
    stopping = asyncio.Event()
    running = asyncio.create_task(relay(pool, {Topic.ORDER_PAID: [ears]}).run(stopping))
    await ears.began.wait()
    stopping.set()
    await asyncio.sleep(0.05)
    assert not running.done()
    ears.gate.set()
    await running
    assert ears.heard == {key: [1]}
    waiting = await pool.fetch("SELECT payload FROM outbox WHERE processed_at IS NULL")
    assert [row["payload"]["n"] for row in waiting] == [2]


async def test_an_event_of_a_newer_version_is_left_to_it(pool: Pool) -> None:
    ears, key = Ears(), new_id()
    await pool.execute(
        "INSERT INTO outbox (topic, key, payload) VALUES ('order.teleported', $1, '{}')", key
    )
    await say(pool, Topic.ORDER_PAID, new_id(), 1)
    assert await relay(pool, {Topic.ORDER_PAID: [ears]}).relay_all() == 1
    left = await _first(pool, key)
    assert left["processed_at"] is None
    assert left["last_error"] == "of no topic known here"


async def test_the_database_may_refuse_for_a_while(pool: Pool) -> None:
    ears, key = Ears(), new_id()
    await say(pool, Topic.ORDER_PAID, key, 1)
    await pool.execute("ALTER TABLE outbox RENAME TO away")
    stopping = asyncio.Event()
    running = asyncio.create_task(relay(pool, {Topic.ORDER_PAID: [ears]}).run(stopping))
    try:
        await asyncio.sleep(0.2)
        assert not running.done()
        await pool.execute("ALTER TABLE away RENAME TO outbox")
        await until(lambda: ears.heard[key] == [1])
    finally:
        stopping.set()
        await running


async def test_old_processed_events_are_removed_and_no_others(pool: Pool) -> None:
    await say(pool, Topic.ORDER_PAID, new_id(), 1)
    await say(pool, Topic.ORDER_PAID, new_id(), 2)
    await relay(pool, {}).relay_all()
    await say(pool, Topic.ORDER_PAID, new_id(), 3)
    await pool.execute(
        "UPDATE outbox SET processed_at = now() - interval '2 days' WHERE payload->>'n' = '1'"
    )
    await pool.execute("UPDATE outbox SET created_at = now() - interval '9 days'")
    assert await prune(pool, 86_400) == 1
    rows = await pool.fetch("SELECT payload FROM outbox ORDER BY event_id")
    assert [row["payload"]["n"] for row in rows] == [2, 3]


async def test_what_waits_is_measured(pool: Pool) -> None:
    await say(pool, Topic.ORDER_PAID, new_id(), 1, 2)
    await pool.execute("UPDATE outbox SET created_at = now() - interval '1 minute'")
    registry = CollectorRegistry()
    metrics = OutboxMetrics(registry)
    assert await measure(pool, metrics) == 0
    assert registry.get_sample_value("flashorder_outbox_waiting_events") == 2
    assert registry.get_sample_value("flashorder_outbox_oldest_seconds") == pytest.approx(60, abs=5)


def test_the_backoff_grows_to_its_bound() -> None:
    assert backoff_seconds(1) < 0.21
    assert BACKOFF_SECONDS_MAX / 2 <= backoff_seconds(10_000) <= BACKOFF_SECONDS_MAX


async def test_events_in_backoff_cost_a_poll_nothing(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO outbox (topic, key, payload, available_at) SELECT 'order.paid', "
        "gen_random_uuid(), '{}', now() + interval '1 hour' FROM generate_series(1, 20000)"
    )
    await say(pool, Topic.ORDER_PAID, new_id(), 1)
    for _ in range(2):
        explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
        # The codec has read the JSON already.
        ((found,),) = [await pool.fetchval(explain + SQL["take_events"], 200, 30.0)]
        assert found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"] < 60
        await pool.execute("ANALYZE outbox")


def test_a_lease_outlives_a_call_and_lets_what_a_dead_worker_held_be_done_in_half_a_minute() -> (
    None
):
    """Half of the lease is a handler's; what comes after the event has the rest of the time."""
    settings = Settings()
    assert 2 * settings.provider_timeout_seconds <= settings.outbox_lease_seconds
    assert settings.outbox_lease_seconds + settings.provider_timeout_seconds <= 30
