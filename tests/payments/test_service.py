"""Paying an order: attempts, refusals, refunds, cancellations."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from flashorder.infra.postgres.pool import connect_postgres
from flashorder.kernel.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    InvalidState,
    NotFound,
    ProviderUnavailable,
    TooEarly,
)
from flashorder.kernel.events import Topic
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.payments.model import PaymentStatus, RefundStatus
from flashorder.payments.providers.registry import ProviderRegistry
from flashorder.payments.service import PaymentService
from flashorder.reservations.ports import AcceptedPurchase
from flashorder.settings import Settings
from tests.payments.house import TOTAL, House, Simulator, until
from tests.stores import BreakableStores

CAPTURED = PaymentStatus.CAPTURED


class Front:
    """Remembers purchases as the store does."""

    def __init__(self, *order_ids: uuid.UUID) -> None:
        self._order_ids = set(order_ids)

    async def find(self, order_id: uuid.UUID, _: uuid.UUID) -> AcceptedPurchase | None:
        if order_id not in self._order_ids:
            return None
        return AcceptedPurchase(order_id, new_id(), "SKU", "Name", 1, 1999, "GBP", 0, 0)


async def test_an_approval_captures_and_tells_the_order(house: House, simulator: Simulator) -> None:
    payment = await house.started()
    assert payment.amount == TOTAL
    assert await simulator.decide(payment.action.url, "approve") == 200
    captured = await house.reaches(payment.payment_id, CAPTURED)
    assert captured.keeps_order
    assert await house.told(payment.order_id) == ["payment.authorized", "payment.captured"]
    payload = await house.pool.fetchval(
        "SELECT payload FROM outbox WHERE topic = $1", "payment.captured"
    )
    assert payload == {
        "order_id": str(payment.order_id),
        "payment_id": str(payment.payment_id),
        "amount": 1999,
        "currency": "GBP",
    }


async def test_an_open_attempt_is_gone_on_with(house: House, simulator: Simulator) -> None:
    order_id, buyer_id = await house.order()
    attempts = await asyncio.gather(
        *(house.service.start(order_id, buyer_id, "simulator") for _ in range(10))
    )
    assert len({attempt.payment_id for attempt in attempts}) == 1
    assert {attempt.reference for attempt in attempts} == {attempts[0].reference}


async def test_decline_then_approve_on_another_attempt(house: House, simulator: Simulator) -> None:
    first = await house.started()
    await simulator.decide(first.action.url, "decline")
    await house.reaches(first.payment_id, PaymentStatus.FAILED)
    second = await house.service.start(first.order_id, first.buyer_id, "simulator")
    assert second.attempt == 2
    await simulator.decide(second.action.url, "approve")
    await house.reaches(second.payment_id, CAPTURED)
    assert (await house.payment(first.payment_id)).status is PaymentStatus.FAILED
    assert await house.told(first.order_id) == [
        "payment.failed",
        "payment.authorized",
        "payment.captured",
    ]


async def test_attempts_are_limited(house: House, simulator: Simulator) -> None:
    await simulator.control(decline_rate=1)
    order_id, buyer_id = await house.order()
    for _ in range(house.settings.payment_attempts_max):
        payment = await house.service.start(order_id, buyer_id, "simulator")
        await simulator.decide(payment.action.url, "approve")
        await house.reaches(payment.payment_id, PaymentStatus.FAILED)
    with pytest.raises(Conflict) as refusal:
        await house.service.start(order_id, buyer_id, "simulator")
    assert refusal.value.code == "too_many_attempts"


@pytest.mark.parametrize("status", ["paid", "cancelled"])
async def test_an_order_that_moved_on_is_not_payable(house: House, status: str) -> None:
    order_id, buyer_id = await house.order(status=status)
    with pytest.raises(InvalidState):
        await house.service.start(order_id, buyer_id, "simulator")


async def test_an_order_past_due_is_not_payable(house: House) -> None:
    order_id, buyer_id = await house.order(due_in_seconds=-1)
    with pytest.raises(InvalidState):
        await house.service.start(order_id, buyer_id, "simulator")
    assert await house.pool.fetchval("SELECT count(*) FROM payments") == 0


async def test_somebody_elses_order_is_not_found(house: House) -> None:
    order_id, _ = await house.order()
    with pytest.raises(NotFound):
        await house.service.start(order_id, new_id(), "simulator")
    with pytest.raises(NotFound):
        await house.service.of_order(order_id, new_id())


async def test_an_unknown_provider_is_refused(house: House) -> None:
    order_id, buyer_id = await house.order()
    with pytest.raises(InvalidInput) as refusal:
        await house.service.start(order_id, buyer_id, "barter")
    assert refusal.value.code == "unknown_provider"
    assert refusal.value.detail == "there is no such payment provider; known: simulator"


async def test_an_accepted_order_is_waited_for(house: House, simulator: Simulator) -> None:
    order_id, buyer_id = new_id(), new_id()
    service = PaymentService(house.pool, house.providers, house.settings, Front(order_id))
    with pytest.raises(TooEarly) as early:
        await service.start(order_id, buyer_id, "simulator")
    assert early.value.code == "order_not_ready"
    waiting = asyncio.create_task(service.start(order_id, buyer_id, "simulator"))
    await asyncio.sleep(0)
    await house.pool.execute(
        "INSERT INTO orders (order_id, order_number, buyer_id, currency, total_amount, accepted_at)"
        " VALUES ($1, 'N', $2, 'GBP', 5, now())",
        order_id,
        buyer_id,
    )
    assert (await waiting).status is PaymentStatus.REQUIRES_ACTION


async def test_an_order_that_never_was_is_not_found(house: House) -> None:
    service = PaymentService(house.pool, house.providers, house.settings, Front())
    with pytest.raises(NotFound):
        await service.start(new_id(), new_id(), "simulator")


async def test_a_provider_that_is_away_leaves_one_attempt(
    house: House, simulator: Simulator
) -> None:
    await simulator.stop()
    order_id, buyer_id = await house.order()
    for _ in range(3):
        with pytest.raises(ProviderUnavailable):
            await house.service.start(order_id, buyer_id, "simulator")
    await simulator.start()
    payment = await house.service.start(order_id, buyer_id, "simulator")
    assert payment.attempt == 1
    assert payment.status is PaymentStatus.REQUIRES_ACTION


async def test_a_cancellation_that_comes_first_forbids_the_payment(house: House) -> None:
    order_id, buyer_id = await house.order()
    async with house.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "UPDATE orders SET status = 'cancelled', cancelled_at = now(), cancel_reason = 'x' "
            "WHERE order_id = $1",
            order_id,
        )
        paying = asyncio.create_task(house.service.start(order_id, buyer_id, "simulator"))
        done, _ = await asyncio.wait([paying], timeout=0.1)
        assert not done, "it has to wait for the cancellation to be decided"
    with pytest.raises(InvalidState):
        await paying


# -- captures, voids and refunds by operators


async def test_manual_capture(house: House, simulator: Simulator) -> None:
    manual = house.settings.model_copy(update={"payment_capture": "manual"})
    service = PaymentService(house.pool, house.providers, manual)
    order_id, buyer_id = await house.order()
    payment = await service.start(order_id, buyer_id, "simulator")
    with pytest.raises(InvalidState):
        await service.capture(payment.payment_id)
    await simulator.decide(payment.action.url, "approve")
    await house.reaches(payment.payment_id, PaymentStatus.AUTHORIZED)
    assert (await service.capture(payment.payment_id)).status is CAPTURED
    assert (await service.capture(payment.payment_id)).status is CAPTURED
    await simulator.delivered()
    assert await house.told(order_id) == ["payment.authorized", "payment.captured"]


async def test_capture_and_void_at_once_have_one_winner(house: House, simulator: Simulator) -> None:
    manual = house.settings.model_copy(update={"payment_capture": "manual"})
    service = PaymentService(house.pool, house.providers, manual)
    for _ in range(5):
        order_id, buyer_id = await house.order()
        payment = await service.start(order_id, buyer_id, "simulator")
        await simulator.decide(payment.action.url, "approve")
        await house.reaches(payment.payment_id, PaymentStatus.AUTHORIZED)
        results = await asyncio.gather(
            service.capture(payment.payment_id),
            service.void(payment.payment_id),
            return_exceptions=True,
        )
        assert [type(each) for each in results].count(InvalidState) == 1
        await simulator.delivered()
        ended = await house.payment(payment.payment_id)
        captured = {each["payment"] for each in (await simulator.ledger())["captures"]}
        assert (ended.status is CAPTURED) == (ended.reference in captured)
        assert ended.status in (CAPTURED, PaymentStatus.VOIDED)


async def test_a_void_that_finds_the_money_taken_records_it(
    house: House, simulator: Simulator
) -> None:
    await simulator.control(drop_webhook_rate=1)
    payment = await house.started()
    await simulator.decide(payment.action.url, "approve")
    with pytest.raises(InvalidState):
        await house.service.void(payment.payment_id)
    assert (await house.payment(payment.payment_id)).status is CAPTURED
    assert await house.told(payment.order_id) == ["payment.captured"]


async def captured(house: House, simulator: Simulator) -> uuid.UUID:
    payment = await house.started()
    await simulator.decide(payment.action.url, "approve")
    await house.reaches(payment.payment_id, CAPTURED)
    await simulator.delivered()
    return payment.payment_id


async def test_refunds_in_parts_stay_within_the_capture(house: House, simulator: Simulator) -> None:
    payment_id = await captured(house, simulator)

    async def refund(amount: int, key: str) -> RefundStatus:
        refund = await house.service.refund(
            payment_id, amount=Money(amount, "GBP"), reason="late", request_key=key
        )
        return refund.status

    assert await refund(1000, "a") is RefundStatus.SUCCEEDED
    assert await refund(1000, "a") is RefundStatus.SUCCEEDED
    assert (await house.payment(payment_id)).keeps_order
    with pytest.raises(Conflict) as refusal:
        await refund(1000, "b")
    assert refusal.value.code == "refund_exceeds_capture"
    assert await refund(999, "c") is RefundStatus.SUCCEEDED
    assert not (await house.payment(payment_id)).keeps_order
    totals = (await simulator.delivered())["totals"]["GBP"]
    assert totals["refunds"] == {"count": 2, "amount": 1999}
    with pytest.raises(InvalidInput):
        await house.service.refund(
            payment_id, amount=Money(1, "EUR"), reason="late", request_key="d"
        )


async def test_concurrent_refunds_give_back_once(house: House, simulator: Simulator) -> None:
    payment_id = await captured(house, simulator)
    order_id = (await house.payment(payment_id)).order_id
    await house.set_order(order_id, "cancelled")
    due = {"payment_id": str(payment_id), "reason": "order_cancelled"}
    await asyncio.gather(
        *(house.hear(Topic.ORDER_REFUND_DUE, order_id, **due) for _ in range(10)),
        *(
            house.service.refund(payment_id, amount=None, reason="staff", request_key=f"k{turn}")
            for turn in range(5)
        ),
        return_exceptions=True,
    )
    await asyncio.gather(*(house.service.upkeep.drive_refunds() for _ in range(3)))
    await simulator.delivered()
    assert len(await house.refunds(payment_id)) == 1
    totals = (await simulator.ledger())["totals"]["GBP"]
    assert totals["refunds"] == {"count": 1, "amount": 1999}
    assert (await house.told(order_id)).count("refund.succeeded") == 1
    assert await house.violations() == []


async def test_a_refund_of_what_was_not_captured_is_refused(
    house: House, simulator: Simulator
) -> None:
    payment = await house.started()
    with pytest.raises(InvalidState):
        await house.service.refund(payment.payment_id, amount=None, reason="no", request_key="k")
    await house.hear(
        Topic.ORDER_REFUND_DUE, payment.order_id, payment_id=str(payment.payment_id), reason="x"
    )
    assert await house.refunds(payment.payment_id) == []


async def test_a_refund_survives_a_provider_that_is_away(
    house: House, simulator: Simulator
) -> None:
    payment_id = await captured(house, simulator)
    await simulator.stop()
    refund = await house.service.refund(payment_id, amount=None, reason="r", request_key="k")
    assert refund.status is RefundStatus.PENDING
    await simulator.start()
    await house.pool.execute("UPDATE refunds SET ask_at = now()")
    assert await house.service.upkeep.drive_refunds() == 1
    assert [each.status for each in await house.refunds(payment_id)] == [RefundStatus.SUCCEEDED]


# -- a cancelled order


async def test_a_cancelled_order_voids_what_is_open(house: House, simulator: Simulator) -> None:
    payment = await house.started()
    await house.set_order(payment.order_id, "cancelled")
    await house.hear(Topic.ORDER_CANCELLED, payment.order_id)
    await house.hear(Topic.ORDER_CANCELLED, payment.order_id)
    assert await house.service.upkeep.ask_silent() == 1
    assert (await house.payment(payment.payment_id)).status is PaymentStatus.VOIDED
    assert await simulator.decide(payment.action.url, "approve") == 409


async def test_a_cancelled_order_whose_payment_was_taken_is_told(
    house: House, simulator: Simulator
) -> None:
    await simulator.control(drop_webhook_rate=1)
    payment = await house.started()
    await simulator.decide(payment.action.url, "approve")
    await house.set_order(payment.order_id, "cancelled")
    await house.hear(Topic.ORDER_CANCELLED, payment.order_id)
    await house.service.upkeep.ask_silent()
    assert (await house.payment(payment.payment_id)).status is CAPTURED
    assert await house.told(payment.order_id) == ["payment.captured"]
    assert await house.violations() == ["cancelled_orders_keep_no_money"]
    await house.hear(Topic.ORDER_REFUND_DUE, payment.order_id, reason="units_gone")
    await house.service.upkeep.drive_refunds()
    assert await house.violations() == []


async def test_an_attempt_that_the_provider_never_heard_of_is_closed_for_good(
    house: House, simulator: Simulator
) -> None:
    await simulator.stop()
    order_id, buyer_id = await house.order()
    with pytest.raises(ProviderUnavailable):
        await house.service.start(order_id, buyer_id, "simulator")
    await house.set_order(order_id, "cancelled")
    await house.hear(Topic.ORDER_CANCELLED, order_id)
    await simulator.start()
    assert await house.service.upkeep.ask_silent() == 1
    (payment,) = await house.service.of_order(order_id, buyer_id)
    assert payment.status is PaymentStatus.VOIDED


async def test_payments_are_locked_in_one_order_by_everybody(house: House) -> None:
    order_id, _ = await house.order()
    low, high = sorted([new_id(), new_id()])
    for attempt, (payment_id, provider) in enumerate([(high, "one"), (low, "other")], 1):
        await house.pool.execute(
            "INSERT INTO payments (payment_id, order_id, buyer_id, provider, amount, currency, "
            "attempt) VALUES ($1, $2, $2, $3, 1999, 'GBP', $4)",
            payment_id,
            order_id,
            provider,
            attempt,
        )
    lock = "SELECT FROM payments WHERE payment_id = $1 FOR UPDATE"
    async with house.pool.acquire() as first, first.transaction():
        await first.execute(lock, low)
        closing = asyncio.create_task(house.hear(Topic.ORDER_CANCELLED, order_id))

        async def it_waits() -> bool:
            return await house.pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )

        await until(it_waits)
        await first.execute(f"{lock} NOWAIT", high)  # else the two wait for one another
    await closing
    assert await house.pool.fetchval("SELECT count(close_requested_at) FROM payments") == 2


# -- refunds that are refused


async def refused(house: House, simulator: Simulator) -> uuid.UUID:
    """A payment whose refund is owed, and refused until it is time for a person."""
    payment_id = await captured(house, simulator)
    order_id = (await house.payment(payment_id)).order_id
    await house.set_order(order_id, "cancelled")
    await simulator.control(refuse_refund_rate=1)
    due = {"payment_id": str(payment_id), "reason": "units_gone"}
    for _ in range(house.settings.refund_attempts_max + 2):
        await house.hear(Topic.ORDER_REFUND_DUE, order_id, **due)
        await house.pool.execute("UPDATE refunds SET ask_at = now()")
        await house.service.upkeep.drive_refunds()
        await simulator.delivered()
    return payment_id


async def test_a_refused_refund_is_tried_again_later(house: House, simulator: Simulator) -> None:
    payment_id = await captured(house, simulator)
    order_id = (await house.payment(payment_id)).order_id
    await house.set_order(order_id, "cancelled")
    await simulator.control(refuse_refund_rate=1)
    due = {"payment_id": str(payment_id), "reason": "units_gone"}
    await house.hear(Topic.ORDER_REFUND_DUE, order_id, **due)
    assert await house.service.upkeep.drive_refunds() == 1
    await simulator.delivered()
    first, again = await house.refunds(payment_id)
    assert (first.status, first.failure_code) == (RefundStatus.FAILED, "refund_refused")
    assert (again.status, again.request_key) == (RefundStatus.PENDING, "due:units_gone:2")
    assert (await house.payment(payment_id)).unrefunded.amount == 0, "it is still on its way"
    assert await house.violations() == []
    await simulator.control(refuse_refund_rate=0)
    assert await house.service.upkeep.drive_refunds() == 0, "not yet"
    await house.pool.execute("UPDATE refunds SET ask_at = now()")
    assert await house.service.upkeep.drive_refunds() == 1
    totals = (await simulator.delivered())["totals"]["GBP"]
    assert totals["refunds"] == {"count": 1, "amount": 1999}
    assert await house.told(order_id) == [
        "payment.authorized",
        "payment.captured",
        "refund.succeeded",
    ]


async def test_a_refund_that_is_refused_for_good_needs_a_person(
    house: House, simulator: Simulator
) -> None:
    payment_id = await refused(house, simulator)
    tries = await house.refunds(payment_id)
    assert [each.attempt for each in tries] == [*range(1, house.settings.refund_attempts_max + 1)]
    assert {each.status for each in tries} == {RefundStatus.FAILED}
    assert await house.violations() == ["cancelled_orders_keep_no_money"]

    async def to_decide() -> tuple[float, list[uuid.UUID]]:
        await house.service.measure()
        (family,) = house.service.metrics.refunds_to_decide.collect()
        wanted = {"order_id": None, "status": None, "provider": None, "before": None, "limit": 9}
        page = await house.service.page(**wanted, refund_to_decide=True)
        return family.samples[0].value, [each.payment_id for each in page]

    assert await to_decide() == (1, [payment_id])
    await simulator.control(refuse_refund_rate=0)
    await house.service.refund(payment_id, amount=None, reason="by hand", request_key="call:1")
    assert await to_decide() == (0, [])
    assert await house.violations() == []


async def test_reading_does_not_wait_for_a_database_that_hangs(
    stores: BreakableStores, settings: Settings, providers: ProviderRegistry
) -> None:
    async with await connect_postgres(stores.database_url, read_timeout_seconds=0.3) as pool:
        service = PaymentService(pool, providers, settings)
        stores.database.pause()
        try:
            async with asyncio.timeout(5):
                for read in (service.of_order(new_id(), new_id()), service.details(new_id())):
                    with pytest.raises(DatabaseUnavailable):
                        await read
        finally:
            stores.database.resume()
