"""Money that comes in time, late, twice, or wrong; and deaths in the middle of it."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter

import pytest
from redis.asyncio import Redis

from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.errors import NotFound, StoreUnavailable
from flashorder.kernel.events import Event, Topic
from flashorder.kernel.identifiers import new_id
from flashorder.reservations.ports import Holds, ReclaimOutcome, ReleaseOutcome
from tests.consumer.shop import PRICE, Bought, Shop
from tests.orders.desk import Desk


@pytest.fixture
async def bought(desk: Desk) -> Bought:
    return await desk.shop.place()


async def expired(desk: Desk, bought: Bought) -> None:
    """Expired, and the unit given back."""
    await desk.expire(bought)
    await desk.relay()
    assert (await desk.order(bought))["released_at"] is not None


class Dying:
    """The real port, in a process that dies at a chosen point: once before or after a call."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self.before: set[str] = set()
        self.after: set[str] = set()

    async def release(
        self, sale_id: uuid.UUID, order_id: uuid.UUID, buyer_id: uuid.UUID, hold: int
    ) -> ReleaseOutcome:
        self._die(self.before, "release")
        outcome = await self._holds.release(sale_id, order_id, buyer_id, hold)
        self._die(self.after, "release")
        return outcome

    async def reclaim(
        self, sale_id: uuid.UUID, order_id: uuid.UUID, buyer_id: uuid.UUID, hold: int
    ) -> ReclaimOutcome:
        self._die(self.before, "reclaim")
        outcome = await self._holds.reclaim(sale_id, order_id, buyer_id, hold)
        self._die(self.after, "reclaim")
        return outcome

    def _die(self, points: set[str], name: str) -> None:
        if name in points:
            points.discard(name)
            raise StoreUnavailable("died here")


async def test_a_payment_in_time(desk: Desk, bought: Bought) -> None:
    await desk.pay(bought)
    await desk.redeliver()
    order = await desk.order(bought)
    assert order["status"] == "paid"
    assert order["paid_at"] is not None
    assert await desk.timeline(bought) == ["placed", "paid"]
    assert await desk.refunds_due() == []
    assert await desk.shop.violations() == []


@pytest.mark.parametrize(
    ("amount", "currency"), [(PRICE - 1, "GBP"), (PRICE + 1, "GBP"), (PRICE, "EUR")]
)
async def test_another_amount_does_not_pay_and_goes_back(
    desk: Desk, bought: Bought, amount: int, currency: str
) -> None:
    payment_id = await desk.pay(bought, amount=amount, currency=currency)
    await desk.redeliver()
    assert await desk.status(bought) == "pending_payment"
    assert await desk.refunds_due() == [(str(payment_id), "amount_mismatch")]
    await desk.pay(bought)
    assert await desk.status(bought) == "paid"
    assert await desk.shop.violations() == []


async def test_a_second_payment_goes_back_and_the_first_stays(desk: Desk, bought: Bought) -> None:
    first = await desk.pay(bought)
    second = await desk.pay(bought)
    await desk.capture(bought, first)  # the provider says the first again
    await desk.redeliver()
    assert await desk.status(bought) == "paid"
    assert await desk.refunds_due() == [(str(second), "duplicate_payment")]


async def test_a_payment_before_the_order_waits_for_it(desk: Desk) -> None:
    bought = await desk.shop.buy()
    event = Event(
        Topic.PAYMENT_CAPTURED,
        bought.order_id,
        {"payment_id": str(new_id()), "amount": PRICE, "currency": "GBP"},
    )
    with pytest.raises(NotFound):
        await desk.settlement.payment_captured(event)


async def test_a_payment_after_the_buyer_cancelled_goes_back(desk: Desk, bought: Bought) -> None:
    await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
    payment_id = await desk.pay(bought)
    await desk.redeliver()
    assert await desk.status(bought) == "cancelled"
    assert await desk.refunds_due() == [(str(payment_id), "order_cancelled")]
    assert await desk.shop.remaining() == 10


async def test_a_late_payment_takes_the_units_again(desk: Desk, bought: Bought) -> None:
    await expired(desk, bought)
    await desk.pay(bought)
    await desk.redeliver()
    order = await desk.order(bought)
    assert (order["status"], order["hold"], order["cancel_reason"]) == ("paid", 2, None)
    assert await desk.timeline(bought) == ["placed", "cancelled", "paid_late", "paid"]
    assert await desk.shop.committed() == 1
    assert await desk.shop.remaining() == 9
    assert await desk.refunds_due() == []
    assert await desk.shop.violations() == []
    # And it can be cancelled like any other: the second hold is ended, and only that.
    await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
    await desk.redeliver()
    assert await desk.shop.remaining() == 10
    assert await desk.shop.violations() == []


async def test_a_late_payment_before_the_units_were_given_back(desk: Desk, bought: Bought) -> None:
    await desk.expire(bought)
    await desk.pool.execute("DELETE FROM outbox WHERE topic = 'order.cancelled'")
    await desk.pay(bought)
    assert await desk.status(bought) == "paid"
    assert await desk.shop.remaining() == 9
    assert await desk.shop.violations() == []


async def test_a_late_payment_when_nothing_is_left_goes_back(pool: Pool, redis: Redis) -> None:
    shop = await Shop.open(pool, redis, 1)
    desk = Desk(shop)
    bought = await shop.place()
    await expired(desk, bought)
    winner = await shop.place()
    payment_id = await desk.pay(bought)
    await desk.redeliver()
    assert await desk.status(bought) == "cancelled"
    assert await desk.status(winner) == "pending_payment"
    assert await desk.refunds_due() == [(str(payment_id), "units_gone")]
    assert await shop.remaining() == 0
    assert await shop.violations() == []


async def test_a_late_payment_above_the_limit_goes_back(pool: Pool, redis: Redis) -> None:
    shop = await Shop.open(pool, redis, 10, limit=1)
    desk = Desk(shop)
    bought = await shop.place()
    await expired(desk, bought)
    await shop.place(1, bought.buyer_id)
    payment_id = await desk.pay(bought)
    assert await desk.refunds_due() == [(str(payment_id), "units_gone")]
    assert await shop.violations() == []


async def test_a_late_payment_of_a_sale_that_is_gone_goes_back(desk: Desk, bought: Bought) -> None:
    await expired(desk, bought)
    await desk.shop.redis.flushall()
    payment_id = await desk.pay(bought)
    assert await desk.refunds_due() == [(str(payment_id), "units_gone")]


async def test_the_guard_refuses_what_the_front_gave(desk: Desk, bought: Bought) -> None:
    await expired(desk, bought)
    await desk.pool.execute("UPDATE sale_items SET allotted = 0")
    first = await desk.pay(bought)
    await desk.redeliver()
    assert await desk.status(bought) == "cancelled"
    assert await desk.refunds_due() == [(str(first), "units_gone")]
    assert await desk.shop.remaining() == 10, "what was taken again is given back"
    assert await desk.shop.violations() == []
    # The next late payment uses a hold of its own.
    await desk.pool.execute("UPDATE sale_items SET allotted = 10")
    await desk.pay(bought)
    order = await desk.order(bought)
    assert (order["status"], order["hold"]) == ("paid", 3)
    assert await desk.shop.remaining() == 9
    assert await desk.shop.violations() == []


@pytest.mark.parametrize("call", ["release", "reclaim"])
@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("allotted", [0, 10])
async def test_a_death_beside_any_call_converges(
    shop: Shop, call: str, point: str, allotted: int
) -> None:
    dying = Dying(shop.holds)
    desk = Desk(shop, dying)
    bought = await shop.place()
    await desk.expire(bought)
    await shop.pool.execute("UPDATE sale_items SET allotted = $1", allotted)
    payment_id = await desk.capture(bought)
    getattr(dying, point).add(call)
    await desk.relay()
    assert not getattr(dying, point), "it did not die"
    await desk.relay()
    await desk.redeliver()
    order = await desk.order(bought)
    if allotted:
        assert (order["status"], order["hold"]) == ("paid", 2)
        assert await desk.refunds_due() == []
        assert await shop.remaining() == 9
    else:
        assert (order["status"], order["hold"]) == ("cancelled", 2)
        assert await desk.refunds_due() == [(str(payment_id), "units_gone")]
        assert await shop.remaining() == 10
        assert order["released_at"] is not None
    assert await shop.violations() == []


async def test_a_death_before_a_refused_taking_is_given_back_converges(shop: Shop) -> None:
    dying = Dying(shop.holds)
    desk = Desk(shop, dying)
    bought = await shop.place()
    await expired(desk, bought)
    await shop.pool.execute("UPDATE sale_items SET allotted = 0")
    dying.before.add("release")  # the first release from here on is that of the second hold
    payment_id = await desk.pay(bought)
    assert not dying.before
    assert await shop.remaining() == 9
    assert await desk.refunds_due() == [(str(payment_id), "units_gone")]
    await desk.relay()
    assert await shop.remaining() == 10
    await desk.redeliver()
    assert await shop.remaining() == 10
    assert len(await desk.refunds_due()) == 1


async def test_two_late_payments_keep_one(desk: Desk, bought: Bought) -> None:
    await expired(desk, bought)
    first = await desk.capture(bought)
    second = await desk.capture(bought)
    await desk.relay()
    await desk.redeliver()
    assert await desk.status(bought) == "paid"
    ((refunded, reason),) = await desk.refunds_due()
    assert refunded in (str(first), str(second))
    assert reason == "duplicate_payment"
    assert await desk.shop.remaining() == 9
    assert await desk.shop.violations() == []


async def test_a_refund_is_told_once_in_the_timeline(desk: Desk, bought: Bought) -> None:
    payment_id = await desk.pay(bought)
    event = Event(
        Topic.REFUND_SUCCEEDED,
        bought.order_id,
        {"payment_id": str(payment_id), "amount": 5, "currency": "GBP"},
        event_id=77,
    )
    for _ in range(2):
        await desk.settlement.refund_succeeded(event)
    assert await desk.timeline(bought) == ["placed", "paid", "refunded"]


async def test_paying_against_expiry_has_one_winner(pool: Pool, redis: Redis) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(6):
        outcomes += await race(pool, redis, random.Random(seed))
    assert set(outcomes) == {"paid", "cancelled"}, "no race was run"


async def race(pool: Pool, redis: Redis, chance: random.Random) -> Counter[str]:
    """Twenty captures against the expiry of the same orders; returns what came first for each."""
    shop = await Shop.open(pool, redis, 20, limit=20)
    desk = Desk(shop)
    bought = [await shop.buy() for _ in range(20)]
    await shop.drain()
    await pool.execute("UPDATE orders SET payment_due_at = now() WHERE status = 'pending_payment'")
    paid = {each.order_id: await desk.capture(each) for each in bought}

    async def expire() -> None:
        for _ in range(8):
            await asyncio.sleep(chance.uniform(0, 0.01))
            await desk.service.expire_due(chance.randint(1, 6))

    async def pay(each: Bought) -> None:
        await asyncio.sleep(chance.uniform(0, 0.06))
        payload = {"payment_id": str(paid[each.order_id]), "amount": PRICE, "currency": "GBP"}
        await desk.settlement.payment_captured(
            Event(Topic.PAYMENT_CAPTURED, each.order_id, payload)
        )

    await asyncio.gather(expire(), *(pay(each) for each in bought))
    while await desk.service.expire_due(50):
        pass
    outcomes: Counter[str] = Counter()
    for each in bought:
        steps = await desk.timeline(each)
        assert steps[1:] in (["paid"], ["cancelled", "paid_late"]), steps
        outcomes[steps[1]] += 1
    await desk.relay()
    await desk.redeliver()
    assert [await desk.status(each) for each in bought] == ["paid"] * 20
    assert await desk.refunds_due() == []
    assert await shop.committed() == 20
    assert await shop.remaining() == 0
    assert await shop.violations() == []
    return outcomes


async def test_the_release_of_an_old_hold_says_nothing_of_a_newer(
    desk: Desk, bought: Bought
) -> None:
    await expired(desk, bought)
    await desk.pay(bought)
    await desk.service.cancel_own(bought.order_id, bought.buyer_id, "changed_mind")
    payload = {
        "sale_id": str(desk.shop.sale_id),
        "buyer_id": str(bought.buyer_id),
        "hold": 1,
    }
    await desk.units.order_cancelled(Event(Topic.ORDER_CANCELLED, bought.order_id, payload))
    assert (await desk.order(bought))["released_at"] is None
    assert await desk.shop.remaining() == 9
    await desk.relay()
    assert (await desk.order(bought))["released_at"] is not None
    assert await desk.shop.remaining() == 10
