"""Trimming never passes what some group still needs."""

from __future__ import annotations

import random

import pytest_asyncio
from redis.asyncio import Redis

from flashorder.consumer import Consumer
from flashorder.consumer.stream import GROUP, IntentStream
from flashorder.infra.redis.keys import intents
from flashorder.kernel.intents import INTENT_FIELD, unpack_intent
from tests.consumer.shop import Shop, settings

KEY = intents(0)


@pytest_asyncio.fixture
async def stream(redis: Redis) -> IntentStream:
    made = IntentStream(redis, 0, "me", entries_max=4)
    await made.create_group()
    await made.create_group()  # idempotent
    return made


async def add(redis: Redis, count: int) -> list[bytes]:
    return [await redis.xadd(KEY, {"n": n}) for n in range(count)]


async def kept(redis: Redis) -> list[bytes]:
    return [entry_id for entry_id, _ in await redis.xrange(KEY)]


async def test_nothing_is_trimmed_before_it_is_acknowledged(
    redis: Redis, stream: IntentStream
) -> None:
    ids = await add(redis, 10)
    assert await stream.trim() == 0
    first = await stream.read_new()
    assert await stream.trim() == 0
    await redis.xack(KEY, GROUP, *ids[1:4])
    assert await stream.trim() == 0
    stream.ack_with_next(first)
    second = await stream.read_new()
    assert await kept(redis) == ids
    assert await stream.trim() == 4
    assert await kept(redis) == ids[4:]
    stream.ack_with_next(second)
    await stream.flush_acks()
    assert await stream.trim() == 4
    assert await stream.lag() == 2
    assert await kept(redis) == ids[8:]


async def test_the_slowest_group_decides(redis: Redis, stream: IntentStream) -> None:
    ids = await add(redis, 6)
    await redis.xgroup_create(KEY, "another", id=ids[1])
    for _ in range(2):
        stream.ack_with_next(await stream.read_new())
    await stream.flush_acks()
    assert await stream.trim() == 2
    assert await kept(redis) == ids[2:]
    await redis.xgroup_destroy(KEY, "another")
    assert await stream.trim() == 4


async def test_without_a_group_or_a_stream_nothing_is_trimmed(redis: Redis) -> None:
    stream = IntentStream(redis, 0, "me", entries_max=4)
    assert await stream.trim() == 0
    await add(redis, 2)
    assert await stream.trim() == 0
    assert await stream.lag() == 0
    await redis.xgroup_create(KEY, GROUP, id="0")
    assert await stream.trim() == 0


async def test_the_stream_and_postgres_together_always_hold_every_entry(shop: Shop) -> None:
    chance = random.Random(7)
    consumers = [
        Consumer(shop.redis, shop.pool, settings(consumer_batch_entries_max=3, consumer_name=name))
        for name in ("a", "b")
    ]
    written: set[bytes] = set()
    for _ in range(60):
        roll = chance.random()
        if roll < 0.4:
            written |= {each["order_id"] for each in await shop.add_entry(chance.randint(1, 4))}
        elif roll < 0.7:
            await chance.choice(consumers).drain_once()
        elif roll < 0.8:
            await IntentStream(shop.redis, 0, "dead", entries_max=2).read_new()
        else:
            await consumers[0].trim()
        in_stream = {
            unpack_intent(fields[INTENT_FIELD]).order_id
            for _, fields in await shop.redis.xrange(KEY)
        }
        orders = {row[0].bytes for row in await shop.pool.fetch("SELECT order_id FROM orders")}
        letters = {
            row[0].bytes for row in await shop.pool.fetch("SELECT order_id FROM dead_letters")
        }
        assert written <= in_stream | orders | letters
    assert await shop.committed() <= 10


async def test_claiming_goes_through_everything_that_is_pending(
    redis: Redis, stream: IntentStream
) -> None:
    ids = await add(redis, 200)
    dead = IntentStream(redis, 0, "dead", entries_max=200)
    await dead.read_new()
    # All but the last are fresh again, so that a bounded look at the pending does not reach it.
    await redis.xclaim(KEY, GROUP, "dead", 0, ids[-1:], idle=60_000)
    claimed = await stream.claim(30)
    while not claimed and stream.claim_goes_on:
        claimed = await stream.claim(30)
    assert [entry.entry_id for entry in claimed] == ids[-1:]


async def test_the_dead_are_forgotten_once_their_hands_are_empty(
    redis: Redis, stream: IntentStream
) -> None:
    await add(redis, 2)
    await IntentStream(redis, 0, "holder", entries_max=1).read_new()
    idle = IntentStream(redis, 0, "idle", entries_max=1)
    idle.ack_with_next(await idle.read_new())
    await idle.flush_acks()
    assert await stream.forget_dead(3600) == 0, "not silent for long"
    assert await stream.forget_dead(0) == 1
    names = {each["name"] for each in await redis.xinfo_consumers(KEY, GROUP)}
    assert names == {b"holder"}
    await add(redis, 1)
    assert len(await idle.read_new()) == 1, "who was only asleep goes on as before"
    await redis.delete(KEY)
    assert await stream.forget_dead(0) == 0
