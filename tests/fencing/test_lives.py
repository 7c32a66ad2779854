"""The scripts of a server's life over a real store; another server is one of another run_id."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from flashorder.consumer.stream import GROUP, IntentStream
from flashorder.fencing.lives import Lives
from flashorder.fencing.model import Begun, Fenced, GivenUp, Marked, highest, numbers_of
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.lives import NO_ENTRY, Standing, Told
from flashorder.infra.redis.scripts import load_script
from flashorder.kernel.identifiers import new_id
from flashorder.reservations.records import ReserveCode
from flashorder.sales.front import FENCED, ChangeOutcome, FrontSale, OpenOutcome, SaleFront
from flashorder.sales.front.model import TopUpOutcome
from tests.fencing.past import FORMER, is_another_server
from tests.reservations.front import a_purchase, a_sale, an_item

VERIFIED, NEW, BEHIND = Standing.VERIFIED, Standing.NEW, Standing.BEHIND
STRANGER = b"f" * 40
SOMEBODY = FORMER.encode()


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def lives(redis: Redis) -> Lives:
    return Lives(redis, 0)


async def opened(redis: Redis) -> FrontSale:
    sale = a_sale(an_item(quantity=50))
    assert await SaleFront(redis, 1).open(sale) is OpenOutcome.OPENED
    return sale


async def buy(redis: Redis, sale: FrontSale) -> tuple[ReserveCode, bytes]:
    purchase = a_purchase(sale)
    reply = await load_script("reserve")(
        redis,
        keys.reserve_keys(0, sale.sale_id),
        (sale.generation, sale.sale_id.bytes, *purchase.arguments()),
    )
    return ReserveCode(reply[3]), reply[2]


async def test_a_life_begins_once_and_is_known_from_then_on(redis: Redis, lives: Lives) -> None:
    life = await lives.check(Told())
    assert (life.standing, life.last_id) == (NEW, NO_ENTRY)
    assert len(life.identity) == 40
    assert await lives.begin(life.identity, NO_ENTRY) is Begun.BEGUN
    assert await lives.begin(life.identity, NO_ENTRY) is Begun.ALREADY
    assert (await lives.check(Told())).standing is VERIFIED
    await is_another_server(redis)
    assert (await lives.check(Told())).standing is NEW


async def test_who_was_told_of_more_than_a_life_began_with_finds_it_behind(
    redis: Redis, lives: Lives
) -> None:
    sale = await opened(redis)
    _, told = await buy(redis, sale)
    identity = (await lives.check(Told())).identity
    assert await lives.begin(identity, NO_ENTRY) is Begun.BEGUN
    await is_another_server(redis, former=FORMER)
    ms, seq = numbers_of(told)
    later, before = b"%d-%d" % (ms, seq + 1), b"%d-%d" % (ms - 1, 99)
    for of_a_former_life, standing in ((told, NEW), (before, NEW), (later, BEHIND)):
        assert (await lives.check(Told(SOMEBODY, of_a_former_life))).standing is standing
    assert await lives.begin(identity, told) is Begun.BEGUN
    for of_a_former_life, standing in ((told, VERIFIED), (before, VERIFIED), (later, BEHIND)):
        assert (await lives.check(Told(SOMEBODY, of_a_former_life))).standing is standing
    # A purchase of the new life hides nothing, nor does yet another life.
    _, newest = await buy(redis, sale)
    assert highest(newest, later) == newest
    assert (await lives.check(Told(SOMEBODY, later))).standing is BEHIND
    assert (await lives.check(Told(identity, newest))).standing is VERIFIED
    await is_another_server(redis, former="1" * 40)
    assert (await lives.check(Told(SOMEBODY, later))).standing is BEHIND
    assert (await lives.check(Told(b"1" * 40, newest))).standing is NEW
    assert await lives.begin(identity, newest) is Begun.BEGUN
    assert (await lives.check(Told(SOMEBODY, later))).standing is BEHIND
    assert (await lives.check(Told(b"1" * 40, newest))).standing is VERIFIED


async def test_a_life_does_not_begin_below_what_is_known(redis: Redis, lives: Lives) -> None:
    sale = await opened(redis)
    _, told = await buy(redis, sale)
    identity = (await lives.check(Told())).identity
    ms, seq = numbers_of(told)
    for missing in (b"%d-%d" % (ms, seq + 1), b"%d-0" % (ms + 1), b"%d-0" % (ms * 10)):
        assert await lives.begin(identity, missing) is Begun.BEHIND
        assert (await lives.check(Told(SOMEBODY, missing))).standing is BEHIND
    assert (await lives.check(Told())).standing is NEW


async def test_a_fenced_sale_refuses_all_but_what_it_remembers(redis: Redis, lives: Lives) -> None:
    front = SaleFront(redis, 1)
    sale = await opened(redis)
    purchase = a_purchase(sale)
    reserve = (redis, keys.reserve_keys(0, sale.sale_id))
    arguments = (sale.generation, sale.sale_id.bytes, *purchase.arguments())
    first = await load_script("reserve")(*reserve, arguments)
    identity = (await lives.check(Told())).identity
    assert await lives.fence(identity, sale.sale_id) is Fenced.FENCED
    assert await lives.fence(identity, sale.sale_id) is Fenced.ALREADY

    assert (await buy(redis, sale))[0] is ReserveCode.STALE_GENERATION
    for generation in (FENCED, 1, 2):  # whatever a worker has read of it
        assert (await buy(redis, replace(sale, generation=generation)))[0] is (
            ReserveCode.STALE_GENERATION
        )
    again = await load_script("reserve")(*reserve, arguments)
    assert (first[3], again[3]) == (ReserveCode.ACCEPTED, ReserveCode.REPLAYED)
    assert await front.change(replace(sale, revision=9)) is ChangeOutcome.SALE_MISSING
    given = await front.top_up(sale.sale_id, 1, new_id(), sale.items[0].sku, 3)
    assert given is TopUpOutcome.SALE_MISSING
    assert [shard.generation for shard in await front.snapshot(sale.sale_id)] == [FENCED]
    read = await front.read(sale.sale_id)
    assert read is not None
    assert (read.generation, read.status) == (FENCED, "paused")
    assert await front.open(sale) is OpenOutcome.STALE_GENERATION

    anew = replace(sale, generation=2)
    assert await front.open(anew) is OpenOutcome.OPENED
    assert (await buy(redis, anew))[0] is ReserveCode.ACCEPTED


async def test_a_sale_that_nobody_knows_is_not_fenced(redis: Redis, lives: Lives) -> None:
    identity = (await lives.check(Told())).identity
    assert await lives.fence(identity, uuid.uuid4()) is Fenced.SALE_MISSING
    assert await redis.keys("*") == []


async def test_after_giving_up_nobody_is_behind_and_nothing_is_fenced(
    redis: Redis, lives: Lives
) -> None:
    sale = await opened(redis)
    _, last = await buy(redis, sale)
    life = await lives.check(Told())
    ms, seq = numbers_of(last)
    known = b"%d-%d" % (ms + 60_000, seq + 7)
    assert await lives.give_up(life.identity, known) is GivenUp.GIVEN_UP
    assert await lives.give_up(life.identity, known) is GivenUp.ALREADY
    beyond = b"%d-0" % (ms + 120_000)
    assert (await lives.check(Told(SOMEBODY, beyond))).standing is VERIFIED
    assert await lives.begin(life.identity, NO_ENTRY) is Begun.ALREADY
    # The sale that stands here now was opened since: a slower one must not close it again.
    assert await lives.fence(life.identity, sale.sale_id) is Fenced.GIVEN_UP
    _, newest = await buy(redis, sale)
    assert numbers_of(newest) > numbers_of(known)
    # The next life is held against all of it.
    await is_another_server(redis)
    assert (await lives.check(Told(b"1" * 40, beyond))).standing is NEW
    assert (await lives.check(Told(SOMEBODY, beyond))).standing is BEHIND
    assert await lives.begin(life.identity, known) is Begun.BEGUN


async def test_lives_are_remembered_for_a_while(redis: Redis, lives: Lives) -> None:
    sale = await opened(redis)
    identity = (await lives.check(Told())).identity
    told = []
    for number in range(30):
        assert await lives.begin(identity, NO_ENTRY) is Begun.BEGUN
        _, entry = await buy(redis, sale)
        told.append(Told(b"%040d" % number, entry))
        await is_another_server(redis, former=f"{number:040d}")
    kept = await redis.hget(keys.life(0), "lives")
    assert kept.count(b"@") == 16
    # Of a life that is forgotten, what is older than memory is believed and nothing newer.
    assert [(await lives.check(each)).standing for each in told[-16:]] == [NEW] * 16
    assert (await lives.check(told[0])).standing is NEW
    assert (await lives.check(Told(told[0].by, told[-1].highest))).standing is BEHIND


async def test_a_stream_that_is_gone_goes_on_above_what_is_known(
    redis: Redis, lives: Lives
) -> None:
    known = b"4102444800000-3"
    life = await lives.check(Told())
    assert await lives.give_up(life.identity, known) is GivenUp.GIVEN_UP
    sale = await opened(redis)
    _, first = await buy(redis, sale)
    assert first == b"4102444800000-4"
    stream = IntentStream(redis, 0, "somebody", entries_max=10)
    assert await stream.lag() == 1
    assert [entry.entry_id for entry in await stream.read_new()] == [first]
    assert await redis.xack(keys.intents(0), GROUP, first) == 1
    assert (await stream.lag(), await stream.trim()) == (0, 1)


async def test_a_mark_is_above_every_entry_and_is_none(redis: Redis, lives: Lives) -> None:
    identity = (await lives.check(Told())).identity
    assert (await lives.mark(identity))[0] is Marked.MARKED  # of no stream yet
    sale = await opened(redis)
    _, entry = await buy(redis, sale)
    outcome, marked = await lives.mark(identity)
    assert outcome is Marked.MARKED
    assert numbers_of(marked) > numbers_of(entry)
    assert (await lives.check(Told())).last_id == marked
    assert [found for found, _ in await redis.xrange(keys.intents(0))] == [entry]
    _, again = await lives.mark(identity)
    assert numbers_of(again) > numbers_of(marked)
    ahead = b"4102444800000-9"  # the clock went back
    assert await lives.give_up(identity, ahead) is GivenUp.GIVEN_UP
    assert await lives.mark(identity) == (Marked.MARKED, b"4102444800000-10")


async def test_another_server_than_was_looked_at_is_told_nothing(
    redis: Redis, lives: Lives
) -> None:
    sale = await opened(redis)
    before = await redis.hgetall(keys.sale_keys(0, sale.sale_id).sale)
    assert await lives.begin(STRANGER, NO_ENTRY) is Begun.MOVED
    assert await lives.fence(STRANGER, sale.sale_id) is Fenced.MOVED
    assert await lives.give_up(STRANGER, b"9-9") is GivenUp.MOVED
    assert await lives.mark(STRANGER) == (Marked.MOVED, NO_ENTRY)
    assert await redis.hgetall(keys.sale_keys(0, sale.sale_id).sale) == before
    assert await redis.exists(keys.life(0), keys.intents(0)) == 0
