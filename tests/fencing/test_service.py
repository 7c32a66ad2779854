"""What becomes of a sale whose store comes back: whole, behind, or with nobody who could tell."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from flashorder.fencing.positions import known_position, write_position
from flashorder.infra.postgres.pool import connect_postgres
from flashorder.infra.redis import keys
from flashorder.infra.redis.lives import NO_ENTRY, Told
from flashorder.kernel.errors import Conflict, DatabaseUnavailable, StoreUnavailable
from flashorder.kernel.identifiers import new_id
from flashorder.reservations.records import ReserveCode
from flashorder.sales.model import SaleStatus
from tests.fencing.past import FORMER, Past, is_another_server
from tests.rebuilding.conftest import Market, order_id_of

ACCEPTED, REPLAYED = ReserveCode.ACCEPTED, ReserveCode.REPLAYED
CLOSED = ReserveCode.STALE_GENERATION


async def settled(market: Market) -> list[str]:
    """Settle every shard; the events that were logged of it."""
    with capture_logs() as logged:
        await market.fencing.settle_all()
    return [line["event"] for line in logged]


async def said(market: Market, count: int = 2) -> set[ReserveCode]:
    """What new buyers are told, each shard asked."""
    return {(await market.send(market.wish()))[0] for _ in range(count)}


async def test_a_store_that_lost_nothing_goes_on_by_itself(market: Market) -> None:
    bought = [await market.buy() for _ in range(4)]
    await market.drain()
    unread = await market.buy()
    assert await settled(market) == ["store_verified"] * 2
    await is_another_server(market.redis)
    assert await settled(market) == ["store_verified"] * 2
    assert await settled(market) == []
    assert [(await market.send(wish))[0] for wish in (*bought, unread)] == [REPLAYED] * 5
    assert await said(market) == {ACCEPTED}
    await market.drain()
    assert await market.violations() == []


async def test_a_store_behind_what_postgresql_has_sells_nothing_until_it_is_rebuilt(
    market: Market,
) -> None:
    kept = [await market.buy() for _ in range(2)]
    await market.drain()
    await market.fencing.settle_all()
    past = await Past.of(market.redis)
    lost = [await market.buy() for _ in range(4)]
    await market.drain()

    await past.comes_back(market.redis)
    assert sorted(await settled(market)) == ["store_behind"] * 2
    assert await said(market) == {CLOSED}
    assert await settled(market) == []
    assert not await market.sales.is_at_front(await market.sales.get(market.sale.sale_id))
    found = await market.violations()
    assert [each.partition(":")[0] for each in found] == ["sale_known", "sale_as_told"]
    await market.sales.close(market.sale.sale_id)
    with pytest.raises(Conflict, match="rebuild it first"):
        await market.sales.settle(market.sale.sale_id, actor="test")

    rebuilt = await market.rebuilding.rebuild(market.sale.sale_id)
    assert (rebuilt.restored, rebuilt.sale.status) == (6, SaleStatus.CLOSED)
    assert [(await market.send(wish))[0] for wish in (*kept, *lost)] == [REPLAYED] * 6
    assert await market.violations() == []
    # It is whole again, also after the next restart, although nothing was bought since.
    await is_another_server(market.redis)
    assert await settled(market) == ["store_verified"] * 2


async def test_the_sale_goes_on_to_its_last_unit_and_no_further(market: Market) -> None:
    await market.fencing.settle_all()
    past = await Past.of(market.redis)
    for _ in range(6):
        await market.buy()
    await market.drain()
    await past.comes_back(market.redis)
    await market.fencing.settle_all()
    await market.rebuilding.rebuild(market.sale.sale_id)
    answers = [(await market.send(market.wish()))[0] for _ in range(40)]
    assert answers.count(ACCEPTED) == 4
    await market.drain()
    assert await market.violations() == []


async def test_what_is_left_of_the_stream_becomes_orders_before_the_rebuild(
    market: Market,
) -> None:
    unread = [await market.buy() for _ in range(3)]
    past = await Past.of(market.redis)
    lost = [await market.buy() for _ in range(2)]
    told = [await market.redis.xrevrange(keys.intents(shard), count=1) for shard in range(2)]
    await past.comes_back(market.redis)
    # PostgreSQL has heard of none of it; who was told of the last ones has.
    for shard, entries in enumerate(told):
        await market.fencing.settle(shard, Told(FORMER.encode(), entries[0][0]))
    assert await said(market) == {CLOSED}
    with pytest.raises(Conflict) as raised:
        await market.rebuilding.rebuild(market.sale.sale_id)
    assert raised.value.code == "intents_not_applied"
    await market.drain()
    rebuilt = await market.rebuilding.rebuild(market.sale.sale_id)
    assert rebuilt.restored == 3
    assert [(await market.send(wish))[0] for wish in unread] == [REPLAYED] * 3
    assert [(await market.send(wish))[0] for wish in lost] == [ACCEPTED] * 2  # as if never made
    await market.drain()
    assert await market.violations() == []


async def test_one_who_knows_more_closes_what_others_took_for_whole(market: Market) -> None:
    past = await Past.of(market.redis)
    await market.buy()
    entries = await market.redis.xrevrange(keys.intents(0), count=1)
    await past.comes_back(market.redis)
    assert await settled(market) == ["store_verified"] * 2
    between = await market.buy()  # a newer id, which hides the loss
    with capture_logs() as logged:
        await market.fencing.settle(0, Told(FORMER.encode(), entries[0][0]))
    assert [line["event"] for line in logged] == ["store_behind"]
    assert await said(market) == {CLOSED, ACCEPTED}  # the other shard lost nothing
    await market.drain()
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert (await market.send(between))[0] is REPLAYED
    assert await market.violations() == []


async def test_without_postgresql_nobody_can_tell_and_nothing_is_sold(
    market: Market, database_url: str
) -> None:
    await market.buy()
    nowhere = await connect_postgres(database_url, connections_min=0)
    await nowhere.close()
    fencing = market.fencing
    pool, fencing._pool = fencing._pool, nowhere
    try:
        with pytest.raises(DatabaseUnavailable) as raised:
            await fencing.settle(0, Told())
    finally:
        fencing._pool = pool
    assert raised.value.retry_after_seconds
    assert await market.redis.exists(keys.life(0)) == 0
    await fencing.settle(0, Told())
    assert await market.redis.exists(keys.life(0)) == 1


async def test_many_at_once_do_no_more_than_one(market: Market) -> None:
    await market.fencing.settle_all()
    past = await Past.of(market.redis)
    for _ in range(4):
        await market.buy()
    await market.drain()
    await past.comes_back(market.redis)
    with capture_logs() as logged:
        await asyncio.gather(*(market.fencing.settle_all() for _ in range(5)))
    assert [line["event"] for line in logged] == ["store_behind"] * 2
    await market.rebuilding.rebuild(market.sale.sale_id)
    await is_another_server(market.redis)
    with capture_logs() as logged:
        await asyncio.gather(*(market.fencing.settle_all() for _ in range(5)))
    assert [line["event"] for line in logged] == ["store_verified"] * 2


async def test_a_slow_one_does_not_close_what_was_rebuilt_meanwhile(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.fencing.settle_all()
    past = await Past.of(market.redis)
    for _ in range(4):
        await market.buy()
    await market.drain()
    await past.comes_back(market.redis)
    read, has_read, released = known_position, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: object) -> bytes:
        found = await read(*arguments)  # type: ignore[arg-type]
        has_read.set()
        await released.wait()
        return found

    with monkeypatch.context() as slow:
        slow.setattr("flashorder.fencing.service.known_position", slowly)
        late = asyncio.create_task(market.fencing.settle(0, Told()))
        await has_read.wait()
    await market.fencing.settle_all()
    await market.rebuilding.rebuild(market.sale.sale_id)
    released.set()
    await late
    assert await said(market) == {ACCEPTED}


async def test_after_everything_was_lost_the_next_restart_is_no_alarm(market: Market) -> None:
    await market.buy()
    await market.drain()
    await market.lose()
    rebuilt = await market.rebuilding.rebuild(market.sale.sale_id)
    assert rebuilt.restored == 1
    await is_another_server(market.redis)
    assert await settled(market) == ["store_verified"] * 2
    assert await said(market) == {ACCEPTED}


async def test_a_rebuilt_generation_that_is_lost_again_is_missed_without_a_purchase(
    market: Market,
) -> None:
    """A replica that lags by the rebuild alone has the same entries as the primary."""
    bought = [await market.buy() for _ in range(4)]
    await market.drain()
    await market.lose()
    await market.fencing.settle_all()
    past = await Past.of(market.redis)
    await market.rebuilding.rebuild(market.sale.sale_id)
    await past.comes_back(market.redis)
    assert await settled(market) == ["store_behind"] * 2
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert [(await market.send(wish))[0] for wish in bought] == [REPLAYED] * 4
    assert await market.violations() == []


async def test_a_rebuild_is_not_ended_by_another_server_than_it_was_begun_on(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.buy()
    await market.drain()
    await market.lose()
    settle_all = market.fencing.settle_all

    async def of_another() -> tuple[bytes, ...]:
        return tuple(b"f" * 40 for _ in await settle_all())

    with monkeypatch.context() as moved:
        moved.setattr(market.fencing, "settle_all", of_another)
        with pytest.raises(StoreUnavailable):
            await market.rebuilding.rebuild(market.sale.sale_id)
    assert await said(market) == {ReserveCode.PAUSED}
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert await said(market) == {ACCEPTED}


async def test_a_settled_sale_that_an_old_store_still_has_is_forgotten_again(
    market: Market,
) -> None:
    past = await Past.of(market.redis)
    await market.sales.close(market.sale.sale_id)
    await market.sales.settle(market.sale.sale_id, actor="test")
    for shard in range(2):
        await write_position(market.pool, shard, b"4102444800000-0")
    await past.comes_back(market.redis)
    assert (await market.send(market.wish()))[0] is ACCEPTED  # as it is before anybody looks
    await market.fencing.settle_all()
    assert await said(market) == {ReserveCode.SALE_NOT_FOUND}
    assert await market.redis.smembers(keys.sales(0)) == set()


async def test_positions_only_grow_and_are_those_of_their_shard(market: Market) -> None:
    assert await known_position(market.pool, 0) == NO_ENTRY
    await write_position(market.pool, 0, b"5-7")
    await write_position(market.pool, 0, b"5-6")
    assert await known_position(market.pool, 0) == b"5-7"
    assert await known_position(market.pool, 1) == NO_ENTRY
    wish = await market.buy()
    await market.drain()
    row = await market.pool.fetchrow(
        "SELECT shard, intent_ms, intent_seq FROM orders WHERE order_id = $1", order_id_of(wish)
    )
    assert row is not None
    entry = b"%d-%d" % (row["intent_ms"], row["intent_seq"])
    assert await known_position(market.pool, row["shard"]) == entry
    await market.pool.execute(
        "INSERT INTO dead_letters (dead_letter_id, shard, intent_ms, intent_seq, fields, error) "
        "VALUES ($1, 0, $2, 1, '{}', 'x'), ($3, 0, -5, -5, '{}', 'x')",
        new_id(),
        row["intent_ms"] + 1,
        new_id(),
    )
    assert await known_position(market.pool, 0) == b"%d-1" % (row["intent_ms"] + 1)
