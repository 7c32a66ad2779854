"""Each check holds on a sound service and is seen to fail on the damage that it is there for."""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from flashorder.infra.redis import keys
from flashorder.verification import purchases
from flashorder.verification.model import InFlight, violated
from flashorder.verification.service import Verification, room_invariants
from tests.inventory.reconciliation.desk import SKU, Desk


def silent(left: InFlight, remaining_seconds: float) -> None:
    """Nobody watches a test wait."""


async def some_orders(desk: Desk) -> list[uuid.UUID]:
    """A live order of two units, a cancelled and released one, a dead letter."""
    for _ in range(3):
        await desk.buy(2)
    live, ended, dead = await desk.take(3)
    orders = await desk.apply([live, ended])
    await desk.cancel(orders[1])
    await desk.release_at_front(orders[1])
    await desk.mark_released(orders[1])
    await desk.bury([dead])
    return orders


async def broken(verification: Verification) -> list[str]:
    return violated((await verification.run(0.0, silent)).checks)


def test_what_must_hold_is_said_in_one_manner() -> None:
    for invariants in room_invariants().values():
        for each in invariants:
            assert not each.explanation[0].isupper() or each.explanation[:2].isupper(), each.name
            assert not each.explanation.endswith("."), each.name


async def test_a_sound_service_holds(desk: Desk, verification: Verification) -> None:
    await some_orders(desk)
    report = await verification.run(0.0, silent)
    assert report.holds, report
    assert len(report.checks) >= 11


async def test_work_in_flight_is_waited_for(desk: Desk, verification: Verification) -> None:
    await desk.buy()
    taken = await desk.take()
    seen: list[int] = []

    def progress(left: InFlight, remaining_seconds: float) -> None:
        seen.append(left.stream_entries)

    assert (await verification.settle(0.3, progress)).stream_entries == 1
    assert seen[0] == 1
    assert "stream.nothing_in_flight" in await broken(verification)
    await desk.apply(taken)
    assert (await verification.settle(5.0, progress)).total == 0
    assert await broken(verification) == []


async def test_every_page_of_orders_is_looked_at(
    desk: Desk, verification: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purchases, "PAGE", 2)
    for _ in range(5):
        await desk.buy()
    orders = await desk.apply(await desk.take(5))
    await desk.redis.hdel(desk.keys.tokens, *(order_id.bytes[6:] for order_id in orders))
    report = await verification.run(0.0, silent)
    (records,) = [check for check in report.checks if check.name == "records_agree"]
    assert records.violations == 5
    assert await broken(verification) == ["front.records_agree"]


async def lose_a_unit(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.lose(1)


async def forget_a_sold_unit(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.redis.hincrby(desk.keys.sold, SKU, -1)


async def sell_below_zero(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.redis.hset(desk.keys.stock, SKU, -1)


async def forget_the_sale(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.redis.delete(*desk.keys.all())


async def exceed_the_limit_at_the_front(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.redis.hset(desk.keys.buyers, os.urandom(16) + SKU.encode(), 6)


async def accept_without_an_order(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.redis.hset(desk.keys.tokens, os.urandom(10), b"A\x01" + bytes(14) + b"1:1:1:x")


async def forget_a_token(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.redis.hdel(desk.keys.tokens, orders[0].bytes[6:])


async def forget_a_release(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.pool.execute("UPDATE orders SET released_at = NULL WHERE order_id = $1", orders[1])


async def acknowledge_without_applying(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.buy()
    await desk.acknowledge(await desk.take())


async def apply_and_bury(desk: Desk, orders: list[uuid.UUID]) -> None:
    await desk.pool.execute(
        "INSERT INTO dead_letters (dead_letter_id, shard, intent_ms, intent_seq, fields, error) "
        "SELECT gen_random_uuid(), shard, intent_ms, intent_seq, '{}', 'x' FROM orders LIMIT 1"
    )


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (lose_a_unit, "front.stock_balances"),
        (lose_a_unit, "front.units_add_up"),
        (forget_a_sold_unit, "front.sold_is_booked"),
        (sell_below_zero, "front.stock_not_negative"),
        (forget_the_sale, "front.sale_known"),
        (exceed_the_limit_at_the_front, "front.buyer_limit"),
        (accept_without_an_order, "front.accepted_is_order"),
        (forget_a_token, "front.records_agree"),
        (forget_a_release, "front.records_agree"),
        (forget_a_release, "stream.nothing_in_flight"),
        (acknowledge_without_applying, "front.acknowledged_is_applied"),
        (apply_and_bury, "verification.intent_applied_once"),
    ],
)
async def test_damage_is_found(
    desk: Desk,
    verification: Verification,
    damage: Callable[[Desk, list[uuid.UUID]], Awaitable[None]],
    check: str,
) -> None:
    await damage(desk, await some_orders(desk))
    assert check in await broken(verification)


async def test_a_trimmed_stream_is_sound(desk: Desk, verification: Verification) -> None:
    await some_orders(desk)
    await desk.redis.xtrim(keys.intents(0), maxlen=0, approximate=False)
    assert await broken(verification) == []


async def test_every_statement_of_every_room_runs(database_url: str) -> None:
    everything = room_invariants()
    assert "verification" in everything
    connection = await asyncpg.connect(database_url)
    try:
        for room, invariants in everything.items():
            for each in invariants:
                assert await connection.fetch(each.sql) == [], f"{room}.{each.name}"
    finally:
        await connection.close()
