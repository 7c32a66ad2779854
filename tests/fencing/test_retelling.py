"""A store that lacks no entry may lack what leaves none: it is told again before it sells."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from flashorder.infra.redis import keys
from flashorder.kernel.identifiers import new_id, shard_of
from flashorder.orders.units import OrderUnits
from flashorder.reservations.ports import ReclaimOutcome
from flashorder.reservations.records import Purchase, ReserveCode
from tests.fencing.past import Past
from tests.rebuilding.conftest import Market, order_id_of

ACCEPTED = ReserveCode.ACCEPTED


async def restarted(market: Market, past: Past) -> list[str]:
    """The store comes back as it was; what is logged until it is settled."""
    with capture_logs() as logged:
        await past.comes_back(market.redis)
        await market.fencing.settle_all()
    return [line["event"] for line in logged if line["log_level"] != "debug"]


async def reclaim(market: Market, wish: Purchase, hold: int) -> None:
    """A late payment takes the units again, as ``orders.settlement`` does it."""
    buyer_id = uuid.UUID(bytes=wish.buyer_id)
    said = await market.holds.reclaim(market.sale.sale_id, order_id_of(wish), buyer_id, hold)
    assert said is ReclaimOutcome.RECLAIMED
    await market.pool.execute(
        "UPDATE orders SET status = 'paid', cancel_reason = NULL, cancelled_at = NULL, "
        "released_at = NULL, paid_at = now(), hold = $2, updated_at = now() WHERE order_id = $1",
        order_id_of(wish),
        hold,
    )
    await committed(market, wish.quantity)


async def committed(market: Market, units: int) -> None:
    await market.pool.execute(
        "UPDATE sale_items SET committed = committed + $2 WHERE sale_id = $1 AND sku = 'LANTERN'",
        market.sale.sale_id,
        units,
    )


async def give_back(market: Market, wish: Purchase, hold: int) -> None:
    await market.pool.execute(
        "UPDATE orders SET status = 'cancelled', cancel_reason = 'test', cancelled_at = now(), "
        "paid_at = NULL, updated_at = now() WHERE order_id = $1",
        order_id_of(wish),
    )
    await committed(market, -wish.quantity)
    await OrderUnits(market.pool, market.holds).release(
        order_id_of(wish), market.sale.sale_id, uuid.UUID(bytes=wish.buyer_id), hold
    )


async def paused(market: Market) -> None:
    await market.sales.pause(market.sale.sale_id)


async def topped_up(market: Market) -> None:
    await market.sales.top_up(market.sale.sale_id, "LANTERN", 5, top_up_id=new_id(), actor="test")


@pytest.mark.parametrize("told", [paused, topped_up])
async def test_what_an_operator_changed_last_is_not_forgotten(
    market: Market, told: Callable[[Market], Awaitable[None]]
) -> None:
    await market.buy()
    await market.drain()
    past = await Past.of(market.redis)
    await told(market)
    before = await market.front.read(market.sale.sale_id)
    assert await restarted(market, past) == ["store_verified"] * 2
    assert await market.front.read(market.sale.sale_id) == before
    assert await market.violations() == []


async def test_units_that_came_back_and_went_again_are_where_they_were(market: Market) -> None:
    given_back, taken_again, twice, untouched = [await market.buy() for _ in range(4)]
    await market.drain()
    past = await Past.of(market.redis)
    await give_back(market, given_back, 1)
    await give_back(market, taken_again, 1)
    await reclaim(market, taken_again, 2)
    await give_back(market, twice, 1)
    await reclaim(market, twice, 2)
    await give_back(market, twice, 2)
    remaining = await market.remaining()
    answers = [await market.send(wish) for wish in (given_back, taken_again, twice, untouched)]
    assert await market.violations() == []
    assert await restarted(market, past) == ["store_verified"] * 2
    assert await market.remaining() == remaining
    assert [
        await market.send(wish) for wish in (given_back, taken_again, twice, untouched)
    ] == answers
    assert await market.violations() == []


async def test_what_is_there_already_is_told_to_no_effect(market: Market) -> None:
    wishes = [await market.buy() for _ in range(3)]
    await market.drain()
    await give_back(market, wishes[0], 1)
    await give_back(market, wishes[1], 1)
    await reclaim(market, wishes[1], 2)
    await topped_up(market)
    past = await Past.of(market.redis)
    assert await restarted(market, past) == ["store_verified"] * 2
    dump = await Past.of(market.redis)
    changed = {key for key in past.dump if past.dump[key] != dump.dump.get(key)}
    assert changed <= {keys.life(0).encode(), keys.life(1).encode()}


async def test_units_that_cannot_be_taken_again_are_a_loss_like_any_other(market: Market) -> None:
    """They were given back, taken again and told so; the store knows of neither the order."""
    wish = await market.buy()
    shard = shard_of(wish.buyer_id, 2)
    await market.drain()
    await give_back(market, wish, 1)
    await reclaim(market, wish, 2)
    past = await Past.of(market.redis)
    tokens = keys.sale_keys(shard, market.sale.sale_id).tokens.encode()
    assert past.dump.pop(tokens)
    assert sorted(await restarted(market, past)) == ["store_behind", "store_verified"]
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert (await market.send(wish))[0] is ReserveCode.REPLAYED
    assert await market.violations() == []


async def test_an_order_that_moves_on_meanwhile_is_no_loss(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = await market.buy()
    await market.drain()
    await give_back(market, wish, 1)
    await reclaim(market, wish, 2)
    past = await Past.of(market.redis)
    fetch = market.pool.fetch

    async def overtaken(query: str, *arguments: object) -> object:
        rows = await fetch(query, *arguments)
        if "changed.hold" in query and rows:
            await give_back(market, wish, 2)
        return rows

    with monkeypatch.context() as racing:
        racing.setattr(market.pool, "fetch", overtaken)
        assert await restarted(market, past) == ["store_verified"] * 2
    assert await market.violations() == []


async def test_a_sale_that_waits_for_its_rebuild_is_told_nothing(market: Market) -> None:
    await market.buy()
    await market.drain()
    await market.lose()
    await market.fencing.settle_all()
    assert await market.sales.begin_generation(await market.sales.get(market.sale.sale_id))
    past = await Past.of(market.redis)
    assert await restarted(market, past) == ["store_verified"] * 2
    assert await market.front.snapshot(market.sale.sale_id) == []
    await market.rebuilding.rebuild(market.sale.sale_id)
    assert (await market.send(market.wish()))[0] is ACCEPTED
