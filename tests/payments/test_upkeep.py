"""The worker's rounds: silent payments, crashes in between, providers that are away."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from flashorder.infra.postgres.pool import transaction
from flashorder.payments.model import PaymentStatus
from flashorder.payments.providers.registry import open_providers
from flashorder.payments.records import Payment
from flashorder.payments.service import PaymentService
from flashorder.payments.store import (
    claim_payments_to_ask,
    insert_payment,
    lock_order_to_pay,
)
from tests.payments.house import House, Simulator, until


async def interrupted(house: House, lease_seconds: float = 0.0) -> Payment:
    """An attempt whose process died between its row and its call."""
    order_id, _ = await house.order()
    async with transaction(house.pool) as connection:
        order = await lock_order_to_pay(connection, order_id)
        assert order is not None
        payment = await insert_payment(
            connection,
            order,
            "simulator",
            method="card",
            return_url="https://shop.example/back",
            attempts_max=10,
            lease_seconds=lease_seconds,
        )
    assert payment is not None
    return payment


async def silence(house: House) -> None:
    """As if everybody had been silent for a minute."""
    await house.pool.execute(
        "UPDATE payments SET ask_at = now(), created_at = now() - interval '1 minute', "
        "last_heard_at = last_heard_at - interval '1 minute'"
    )


async def test_a_lost_webhook_is_made_good_by_asking(house: House, simulator: Simulator) -> None:
    await simulator.control(drop_webhook_rate=1)
    payment = await house.started()
    await simulator.decide(payment.action.url, "approve")
    assert await house.service.upkeep.ask_silent() == 0, "it has not been silent long enough"
    await silence(house)
    assert await house.service.upkeep.ask_silent() == 1
    assert (await house.payment(payment.payment_id)).status is PaymentStatus.CAPTURED
    assert await house.service.upkeep.ask_silent() == 0


async def test_asking_becomes_rarer(house: House, simulator: Simulator) -> None:
    payment = await house.started()
    pauses = []
    for _ in range(4):
        await silence(house)
        assert await house.service.upkeep.ask_silent() == 1
        pauses.append(
            await house.pool.fetchval(
                "SELECT round(extract(epoch FROM ask_at - last_heard_at), 1) FROM payments"
            )
        )
    assert [float(pause) for pause in pauses] == [0.2, 0.4, 0.6, 0.6]
    assert (await house.payment(payment.payment_id)).status is PaymentStatus.REQUIRES_ACTION


async def test_an_interrupted_attempt_is_begun_by_the_worker(
    house: House, simulator: Simulator
) -> None:
    payment = await interrupted(house)
    await silence(house)
    assert await house.service.upkeep.ask_silent() == 1
    found = await house.payment(payment.payment_id)
    assert found.status is PaymentStatus.REQUIRES_ACTION
    assert found.action is not None
    # And a call of the dead process that arrives only now finds the same payment.
    again = await house.service.upkeep.create_at_provider(payment)
    assert again.reference == found.reference


async def test_a_fresh_attempt_is_left_to_its_request(house: House, simulator: Simulator) -> None:
    await interrupted(house, lease_seconds=60)
    assert await house.service.upkeep.ask_silent() == 0


async def test_two_workers_do_not_ask_twice(house: House, simulator: Simulator) -> None:
    for _ in range(6):
        await interrupted(house)
    await silence(house)
    async with transaction(house.pool) as connection:
        claimed = await claim_payments_to_ask(connection, "simulator", 0.2, 4)
        assert len(claimed) == 4
        # The other takes what is left, at once, and does not wait for the first to commit.
        other = PaymentService(house.pool, house.providers, house.settings)
        async with asyncio.timeout(5):
            assert await other.upkeep.ask_silent() == 2
    assert await house.service.upkeep.ask_silent() == 0


async def test_a_provider_that_is_away_rests(house: House, simulator: Simulator) -> None:
    payments = [await interrupted(house) for _ in range(20)]
    await silence(house)
    await simulator.stop()
    assert await house.service.upkeep.ask_silent() == 0
    asked = await house.pool.fetchval("SELECT count(*) FROM payments WHERE asked > 0")
    assert asked == 20
    await silence(house)
    assert await house.service.upkeep.ask_silent() == 0, "it rests"
    assert await house.pool.fetchval("SELECT max(asked) FROM payments") == 1
    await simulator.start()

    async def all_begun() -> bool:
        await silence(house)
        await house.service.upkeep.ask_silent()
        found = [await house.payment(each.payment_id) for each in payments]
        return all(each.status is PaymentStatus.REQUIRES_ACTION for each in found)

    await until(all_begun)


async def test_a_slow_provider_is_asked_again(house: House, simulator: Simulator) -> None:
    payment = await interrupted(house)
    await silence(house)
    await simulator.control(latency_ms=2000)
    hasty = house.settings.model_copy(update={"provider_timeout_seconds": 0.2})
    async with open_providers(hasty) as providers:
        service = PaymentService(house.pool, providers, hasty)
        async with asyncio.timeout(1.9):
            assert await service.upkeep.ask_silent() == 0
    assert (await house.payment(payment.payment_id)).status is PaymentStatus.PENDING
    await simulator.control(latency_ms=0)
    await silence(house)
    assert await house.service.upkeep.ask_silent() == 1
    (found,) = await house.service.of_order(payment.order_id, payment.buyer_id)
    assert found.status is PaymentStatus.REQUIRES_ACTION


@pytest.mark.parametrize("order", ["pending_payment", "cancelled"])
async def test_a_payment_that_the_provider_has_lost_expires(
    house: House, simulator: Simulator, order: str
) -> None:
    """Whether it is asked about or, since nobody wants it, given up."""
    payment = await interrupted(house)
    await house.set_order(payment.order_id, order)
    await house.pool.execute(
        "UPDATE payments SET status = 'requires_action', provider_reference = $1",
        f"pay_{uuid.uuid4().hex}",
    )
    for status in (PaymentStatus.REQUIRES_ACTION, PaymentStatus.EXPIRED):
        await silence(house)
        assert await house.service.upkeep.ask_silent() == 1
        assert (await house.payment(payment.payment_id)).status is status
    assert await house.told(payment.order_id) == ["payment.failed"]


async def test_a_payment_that_was_out_of_sight_once_goes_on(
    house: House, simulator: Simulator
) -> None:
    payment = await house.started()
    for seen in (False, True, False, True):
        reference = payment.reference if seen else f"pay_{uuid.uuid4().hex}"
        await house.pool.execute("UPDATE payments SET provider_reference = $1", reference)
        await silence(house)
        assert await house.service.upkeep.ask_silent() == 1
        assert (await house.payment(payment.payment_id)).status is PaymentStatus.REQUIRES_ACTION


async def test_a_step_that_fails_holds_up_no_other(
    house: House, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *good = [await interrupted(house) for _ in range(5)]
    await silence(house)
    begin = house.service.upkeep.create_at_provider

    async def failing(payment: Payment) -> Payment:
        if payment.payment_id == bad.payment_id:
            raise ValueError("no")
        return await begin(payment)

    monkeypatch.setattr(house.service.upkeep, "create_at_provider", failing)
    assert await house.service.upkeep.ask_silent() == 4
    assert {(await house.payment(each.payment_id)).status for each in good} == {
        PaymentStatus.REQUIRES_ACTION
    }
    assert (await house.payment(bad.payment_id)).status is PaymentStatus.PENDING


async def test_an_attempt_beside_the_one_that_paid_is_voided(
    house: House, simulator: Simulator
) -> None:
    payment = await house.started()
    await house.pool.execute(
        "INSERT INTO payments (payment_id, order_id, buyer_id, provider, provider_reference, "
        "status, amount, currency, attempt, captured_at, keeps_order) SELECT gen_random_uuid(), "
        "order_id, buyer_id, 'other', 'o1', 'captured', amount, currency, 2, now(), true "
        "FROM payments"
    )
    await house.set_order(payment.order_id, "paid")
    await silence(house)
    assert await house.service.upkeep.ask_silent() == 1
    assert (await house.payment(payment.payment_id)).status is PaymentStatus.VOIDED
