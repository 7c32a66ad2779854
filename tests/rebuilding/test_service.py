"""The front loses a sale in the middle of it, and gets it back."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import suppress
from typing import Any

import pytest

from flashorder.infra.redis import keys
from flashorder.kernel.errors import Conflict, InvalidState, StoreUnavailable
from flashorder.kernel.identifiers import new_id, shard_of
from flashorder.rebuilding import service as rebuilding_service
from flashorder.rebuilding.service import Rebuilding, Step
from flashorder.reservations.ports import ReclaimOutcome, ReleaseOutcome
from flashorder.reservations.records import PurchaseRecord, ReserveCode
from flashorder.sales.front import SaleFront
from flashorder.sales.model import SaleStatus
from tests.rebuilding.conftest import Market, order_id_of

ACCEPTED, REPLAYED = ReserveCode.ACCEPTED, ReserveCode.REPLAYED


async def test_after_a_loss_everything_is_as_it_was(market: Market) -> None:
    buyer = os.urandom(16)
    bought = [await market.buy(buyer=buyer, units=2), *[await market.buy() for _ in range(4)]]
    await market.sales.top_up(market.sale.sale_id, "LANTERN", 3, top_up_id=new_id(), actor="test")
    await market.drain()
    unreleased, released = bought[3], bought[4]
    await market.cancel(unreleased)
    await market.cancel(released)
    await market.release(released)
    remaining = await market.remaining()
    answers = [await market.send(wish) for wish in bought]

    await market.lose()
    rebuilt = await market.rebuilding.rebuild(market.sale.sale_id)

    assert (rebuilt.restored, rebuilt.sale.status) == (5, SaleStatus.OPEN)
    assert (rebuilt.sale.generation, rebuilt.sale.synced, rebuilt.sale.rebuilding) == (
        market.sale.generation + 1,
        True,
        False,
    )
    assert await market.remaining() == remaining
    # The first answer again; a record differs in nothing, the state of a released one included.
    assert [await market.send(wish) for wish in bought] == answers
    assert (await market.send(market.wish(buyer=buyer)))[0] is ReserveCode.LIMIT_REACHED
    assert await market.violations() == []

    # What was on its way back goes there once, and what was given back stays given back.
    holds = market.holds
    for wish, outcome in (
        (unreleased, ReleaseOutcome.RELEASED),
        (unreleased, ReleaseOutcome.ALREADY_RELEASED),
        (released, ReleaseOutcome.ALREADY_RELEASED),
    ):
        buyer_id = uuid.UUID(bytes=wish.buyer_id)
        said = await holds.release(market.sale.sale_id, order_id_of(wish), buyer_id, 1)
        assert said is outcome
    buyer_id = uuid.UUID(bytes=released.buyer_id)
    said = await holds.reclaim(market.sale.sale_id, order_id_of(released), buyer_id, 2)
    assert said is ReclaimOutcome.RECLAIMED


async def test_the_sale_goes_on_to_its_last_unit_and_no_further(market: Market) -> None:
    for _ in range(6):
        await market.buy()
    await market.drain()
    await market.lose()
    await market.rebuilding.rebuild(market.sale.sale_id)
    said = [(await market.send(market.wish()))[0] for _ in range(40)]
    assert said.count(ACCEPTED) == 4
    assert set(said) == {ACCEPTED, ReserveCode.SOLD_OUT}
    await market.drain()
    assert await market.violations() == []


@pytest.mark.parametrize("verb", ["pause", "close"])
async def test_it_comes_back_in_the_state_that_it_has_by_then(market: Market, verb: str) -> None:
    await market.buy()
    await market.drain()
    await market.lose()
    stepped = await getattr(market.sales, verb)(market.sale.sale_id)
    assert not stepped.synced
    await market.rebuilding.rebuild(market.sale.sale_id)
    there = await market.front.read(market.sale.sale_id)
    assert there is not None
    assert there.status is stepped.status


async def test_dead_letters_keep_their_units_and_their_answers(market: Market) -> None:
    held, discarded, given_back, unreadable = [await market.buy() for _ in range(4)]
    await market.pool.execute("ALTER TABLE orders ADD CONSTRAINT nobody CHECK (false)")
    await market.drain()
    await market.pool.execute("ALTER TABLE orders DROP CONSTRAINT nobody")
    assert await market.pool.fetchval("SELECT count(*) FROM dead_letters") == 4
    decide = (
        "UPDATE dead_letters SET status = 'discarded', closed_at = now(), released_at = $2 "
        "WHERE order_id = $1"
    )
    long_ago = await market.pool.fetchval("SELECT now() - interval '1 hour'")
    await market.pool.execute(decide, order_id_of(discarded), None)
    await market.pool.execute(decide, order_id_of(given_back), long_ago)
    buyer_id = uuid.UUID(bytes=given_back.buyer_id)
    await market.holds.release(market.sale.sale_id, order_id_of(given_back), buyer_id, 1)
    await market.pool.execute(
        "UPDATE dead_letters SET fields = '{}' WHERE order_id = $1", order_id_of(unreadable)
    )
    answers = [await market.send(wish) for wish in (held, discarded, given_back)]
    remaining = await market.remaining()

    await market.lose()
    await market.rebuilding.rebuild(market.sale.sale_id)

    assert [await market.send(wish) for wish in (held, discarded, given_back)] == answers
    left = await market.remaining()
    assert left["LANTERN"] == (remaining["LANTERN"] or 0) + 1  # of the one that nobody can read


class Died(Exception):
    """The process is gone."""


@pytest.mark.parametrize("dies_at", range(1, 12))
async def test_a_run_that_died_anywhere_is_carried_on(
    market: Market, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding_service, "CHUNK_PURCHASES", 2)
    top_up_id = new_id()
    bought = [await market.buy() for _ in range(5)]
    await market.sales.top_up(market.sale.sale_id, "BOTTLE", 4, top_up_id=top_up_id, actor="test")
    await market.drain()
    remaining = await market.remaining()
    await market.lose()
    steps = 0

    def dying(target: Any, name: str) -> None:
        """Each step of ``target.name`` is done, and the ``dies_at``th of all is the last one."""
        do = getattr(target, name)

        async def done(*arguments: Any, **more: Any) -> Any:
            nonlocal steps
            result = await do(*arguments, **more)
            steps += 1
            if steps == dies_at:
                raise Died
            return result

        mortal.setattr(target, name, done)

    with monkeypatch.context() as mortal, suppress(Died):
        for name in ("open_to_fill", "top_up", "restore"):
            dying(market.front, name)
        for name in ("begin_generation", "finish_generation"):
            dying(market.sales, name)
        dying(market.rebuilding, "_agrees")
        dying(market.sales.convergence, "push")
        await market.rebuilding.rebuild(market.sale.sale_id)
        assert steps < dies_at, "a death is not passed over"

    # Whoever looks after sales meanwhile must not open it half filled.
    await market.sales.convergence.push_unsynced()
    await market.sales.convergence.push_top_ups()
    now = await market.sales.get(market.sale.sale_id)
    if now.rebuilding or not await market.sales.is_at_front(now):
        fresh = market.wish()
        said = (await market.send(fresh))[0]
        assert said in (ReserveCode.PAUSED, ReserveCode.SALE_NOT_FOUND)
        await market.rebuilding.rebuild(market.sale.sale_id)
    assert await market.remaining() == remaining
    assert [(await market.send(wish))[0] for wish in bought] == [REPLAYED] * 5
    assert (await market.sales.get(market.sale.sale_id)).synced
    assert await market.violations() == []


async def test_lost_again_in_the_middle_it_begins_anew(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought = [await market.buy() for _ in range(3)]
    await market.sales.top_up(market.sale.sale_id, "LANTERN", 2, top_up_id=new_id(), actor="test")
    await market.drain()
    remaining = await market.remaining()
    await market.lose()
    restore = market.front.restore

    async def lost(*arguments: Any) -> Any:
        await market.lose()
        return await restore(*arguments)

    with monkeypatch.context() as once:
        once.setattr(market.front, "restore", lost)
        with pytest.raises(Conflict) as raised:
            await market.rebuilding.rebuild(market.sale.sale_id)
    assert raised.value.code == "rebuild_overtaken"
    rebuilt = await market.rebuilding.rebuild(market.sale.sale_id)
    assert rebuilt.sale.generation == market.sale.generation + 2
    assert await market.remaining() == remaining
    assert [(await market.send(wish))[0] for wish in bought] == [REPLAYED] * 3


async def test_a_release_that_came_before_its_order_is_repeated(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = await market.buy(units=2)
    await market.drain()
    await market.lose()
    restore = market.front.restore

    async def overtaken(*arguments: Any) -> Any:
        monkeypatch.undo()
        await market.cancel(wish)
        await market.release(wish)  # the front does not know the order yet
        return await restore(*arguments)

    monkeypatch.setattr(market.front, "restore", overtaken)
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert await market.remaining() == {"LANTERN": 10, "BOTTLE": 5}
    assert await market.violations() == []


async def test_an_order_that_comes_late_out_of_a_consumers_hands_is_found(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer had read the entry when the store was lost, and commits it only now."""
    wish = await market.buy()
    shard = shard_of(wish.buyer_id, market.settings.shards)
    entries = await market.redis.xrange(keys.intents(shard))
    await market.lose()
    agrees = market.rebuilding._agrees

    async def late(sale: Any) -> bool:
        monkeypatch.undo()
        await market.redis.xadd(keys.intents(shard), entries[0][1], id=entries[0][0])
        await market.drain()
        return await agrees(sale)

    monkeypatch.setattr(market.rebuilding, "_agrees", late)
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert await market.remaining() == {"LANTERN": 9, "BOTTLE": 5}
    assert (await market.send(wish))[0] is REPLAYED


async def test_what_is_not_lost_is_left_alone_unless_somebody_insists(market: Market) -> None:
    await market.buy()
    await market.drain()
    with pytest.raises(Conflict) as raised:
        await market.rebuilding.rebuild(market.sale.sale_id)
    assert raised.value.code == "sale_at_front"
    key = keys.sale_keys(0, market.sale.sale_id)
    await market.redis.hincrby(key.stock, "LANTERN", 3)  # the front has it wrong
    await market.rebuilding.rebuild(market.sale.sale_id, force=True)
    assert await market.remaining() == {"LANTERN": 9, "BOTTLE": 5}
    assert await market.violations() == []


async def test_an_older_generation_is_a_loss(market: Market) -> None:
    await market.pool.execute("UPDATE sales SET generation = 5")
    rebuilt = await market.rebuilding.rebuild(market.sale.sale_id)
    assert rebuilt.sale.generation == 6


async def test_what_the_stream_holds_is_waited_for(market: Market) -> None:
    wish = await market.buy()
    with pytest.raises(Conflict) as raised:
        await market.rebuilding.rebuild(market.sale.sale_id, force=True)
    assert raised.value.code == "intents_not_applied"
    assert (await market.send(market.wish()))[0] is ACCEPTED  # nothing was begun
    steps: list[Step] = []

    async def consume() -> None:
        while Step.DRAINING not in steps:
            await asyncio.sleep(0)
        await market.drain()

    def heard(step: Step, _done: int) -> None:
        steps.append(step)

    rebuilding = Rebuilding(
        market.pool,
        market.redis,
        market.front,
        market.sales,
        market.holds,
        market.fencing,
        market.settings.model_copy(update={"rebuild_drain_timeout_seconds": 10.0}),
    )
    await asyncio.gather(
        consume(), rebuilding.rebuild(market.sale.sale_id, force=True, progress=heard)
    )
    assert steps[-1] is Step.DONE
    assert (await market.send(wish))[0] is REPLAYED
    assert await market.remaining() == {"LANTERN": 8, "BOTTLE": 5}


async def test_two_at_once_do_no_more_than_one(market: Market) -> None:
    bought = [await market.buy() for _ in range(3)]
    await market.drain()
    await market.lose()
    said = await asyncio.gather(
        *(market.rebuilding.rebuild(market.sale.sale_id) for _ in range(3)),
        return_exceptions=True,
    )
    for refusal in said:
        if isinstance(refusal, BaseException):
            assert isinstance(refusal, Conflict), refusal
    now = await market.sales.get(market.sale.sale_id)
    if now.rebuilding:  # each gave way to another
        await market.rebuilding.rebuild(market.sale.sale_id)
    assert await market.remaining() == {"LANTERN": 7, "BOTTLE": 5}
    assert [(await market.send(wish))[0] for wish in bought] == [REPLAYED] * 3
    assert await market.violations() == []


async def test_a_settled_sale_and_a_draft_are_not_rebuilt(market: Market) -> None:
    await market.sales.close(market.sale.sale_id)
    await market.sales.settle(market.sale.sale_id, actor="test")
    with pytest.raises(InvalidState):
        await market.rebuilding.rebuild(market.sale.sale_id)


async def test_nothing_is_begun_while_the_store_is_away(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(SaleFront, "snapshot", away)
    with pytest.raises(StoreUnavailable):
        await market.rebuilding.rebuild(market.sale.sale_id)
    assert not (await market.sales.get(market.sale.sale_id)).rebuilding


def test_a_record_is_what_the_script_wrote() -> None:
    record = PurchaseRecord(True, 1, b"p" * 6, b"f" * 8, 2, 199, 1_700_000_000_000, "A:B")
    assert PurchaseRecord.unpack(record.pack()) == record
