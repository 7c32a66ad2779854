"""Webhooks over HTTP: forged, repeated, out of order, early, late and lost."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from itertools import permutations
from random import sample
from typing import Any

import msgspec
import pytest

from flashorder.infra.postgres.pool import transaction
from flashorder.kernel.events import Event, Topic
from flashorder.kernel.identifiers import new_id
from flashorder.orders.settlement import OrderSettlement
from flashorder.payments import store
from flashorder.payments.model import PaymentStatus
from flashorder.payments.signatures import sign
from tests.infra.http.serving import Served
from tests.payments.house import TOTAL, House, Simulator, until

PATH = "/v1/webhooks/payments/simulator"
CAPTURED = PaymentStatus.CAPTURED


def webhook(
    payment_id: uuid.UUID, status: str = "captured", reference: str = "pay_1", **changes: Any
) -> bytes:
    said = {
        "id": reference,
        "merchant_reference": str(payment_id),
        "status": status,
        "amount": TOTAL.amount,
        "currency": TOTAL.currency,
    }
    return msgspec.json.encode({"type": f"payment.{status}", "data": {**said, **changes}})


async def deliver(
    house: House,
    web_role: Served,
    body: bytes,
    *,
    event_id: str | None = None,
    moment: datetime | None = None,
    **headers: str,
) -> tuple[int, dict[str, Any]]:
    """One signed delivery: (status, answer)."""
    secret = house.settings.derived_key("webhooks:payments:simulator")
    signed = sign(secret, event_id or f"evt_{uuid.uuid4().hex}", moment or datetime.now(UTC), body)
    async with web_role.client.post(PATH, data=body, headers={**signed, **headers}) as answer:
        return answer.status, await answer.json()


async def kept(house: House) -> int:
    return await house.pool.fetchval("SELECT count(*) FROM payment_webhooks")


async def pending(house: House) -> Any:
    """An attempt that the provider has not answered yet."""
    order_id, _ = await house.order()
    return await pending_of(house, order_id)


async def pending_of(house: House, order_id: uuid.UUID) -> Any:
    async with transaction(house.pool) as connection:
        order = await store.lock_order_to_pay(connection, order_id)
        return await store.insert_payment(
            connection,
            order,
            "simulator",
            method=None,
            return_url=None,
            attempts_max=10,
            lease_seconds=60,
        )


async def test_a_hundred_copies_are_one(house: House, web_role: Served) -> None:
    payment = await pending(house)
    body = webhook(payment.payment_id)
    answers = await asyncio.gather(
        *(deliver(house, web_role, body, event_id="evt_same") for _ in range(100))
    )
    assert {status for status, _ in answers} == {200}
    assert sorted(answer["outcome"] for _, answer in answers).count("changed") == 1
    found = await house.payment(payment.payment_id)
    assert found.status is CAPTURED
    assert found.reference == "pay_1"
    assert found.version == payment.version + 1
    assert await house.told(payment.order_id) == ["payment.captured"]
    assert await kept(house) == 1


async def test_any_order_ends_with_the_money(house: House, web_role: Served) -> None:
    others = ["requires_action", "authorized", "declined", "voided"]
    for turn, order in enumerate(permutations(["captured", *sample(others, 2)])):
        payment = await pending(house)
        for status in order:
            body = webhook(payment.payment_id, status, f"pay_{turn}")
            assert (await deliver(house, web_role, body))[0] == 200
        assert (await house.payment(payment.payment_id)).status is CAPTURED, order
        assert (await house.told(payment.order_id)).count("payment.captured") == 1


async def test_a_decline_after_an_approval_changes_nothing(house: House, web_role: Served) -> None:
    payment = await pending(house)
    await deliver(house, web_role, webhook(payment.payment_id, "captured"))
    status, answer = await deliver(house, web_role, webhook(payment.payment_id, "declined"))
    assert (status, answer["outcome"]) == (200, "unchanged")
    found = await house.payment(payment.payment_id)
    assert found.status is CAPTURED
    assert found.failure_code is None
    assert await house.told(payment.order_id) == ["payment.captured"]


async def test_one_that_comes_before_its_payment_is_kept_and_applied(
    house: House, web_role: Served
) -> None:
    payment_id, order_id = new_id(), new_id()
    status, answer = await deliver(house, web_role, webhook(payment_id))
    assert (status, answer["outcome"]) == (200, "unknown")
    assert await house.service.upkeep.apply_kept_webhooks() == 0
    await house.pool.execute(
        "INSERT INTO payments (payment_id, order_id, buyer_id, provider, amount, currency, attempt)"
        " VALUES ($1, $2, $3, 'simulator', $4, $5, 1)",
        payment_id,
        order_id,
        new_id(),
        TOTAL.amount,
        TOTAL.currency,
    )
    applied = await asyncio.gather(*(house.service.upkeep.apply_kept_webhooks() for _ in range(3)))
    assert sum(applied) == 1
    assert (await house.payment(payment_id)).status is CAPTURED
    assert await house.told(order_id) == ["payment.captured"]
    row = await house.pool.fetchrow("SELECT * FROM payment_webhooks")
    assert row["outcome"] == "changed"
    assert row["payload"] == webhook(payment_id)


async def test_forged_headers_are_refused(house: House, web_role: Served) -> None:
    payment = await pending(house)
    forgeries = {
        "webhook-signature": ["v1,AAAA", "v1a", "v1,é", "", "v2,AAAA", "v1,"],
        "webhook-id": ["", "evt_other"],
        "webhook-timestamp": ["0", "nan", "x" * 1000, "1e999", ""],
    }
    for name, values in forgeries.items():
        for value in values:
            body = webhook(payment.payment_id)
            status, answer = await deliver(house, web_role, body, **{name: value})
            assert (status, answer["code"]) == (401, "signature_invalid"), (name, value)
    assert await kept(house) == 0
    assert (await house.payment(payment.payment_id)).status is PaymentStatus.PENDING


async def test_an_unsigned_or_truncated_one_is_refused(house: House, web_role: Served) -> None:
    body = webhook(new_id())
    secret = house.settings.derived_key("webhooks:payments:simulator")
    signed = sign(secret, "evt_1", datetime.now(UTC), body)
    for data, headers in ((body, {}), (body[:-5], signed), (b"", signed), (b"\xff\xfe", signed)):
        async with web_role.client.post(PATH, data=data, headers=headers) as answer:
            assert answer.status == 401
            assert (await answer.json())["code"] == "signature_invalid"
    assert await kept(house) == 0


async def test_a_replay_outside_the_tolerance_is_refused(house: House, web_role: Served) -> None:
    for minutes in (-6, 6):
        moment = datetime.now(UTC) + timedelta(minutes=minutes)
        status, answer = await deliver(house, web_role, webhook(new_id()), moment=moment)
        assert (status, answer["code"]) == (401, "signature_invalid")
    assert await kept(house) == 0


async def test_signed_rubbish_is_refused_and_not_kept(house: House, web_role: Served) -> None:
    rubbish = [
        b"not json",
        b"[]",
        b'{"type": "payment.captured"}',
        webhook(new_id(), amount="much"),
        webhook(new_id(), status="lost"),
        webhook(new_id(), reference="x" * 300),
        webhook(new_id(), failure_code="a\0b"),
        webhook(new_id(), currency="pounds"),
        webhook(new_id(), amount=10**30),
    ]
    for body in rubbish:
        status, _ = await deliver(house, web_role, body)
        assert status in (400, 422), body
    assert await kept(house) == 0


async def test_one_that_is_too_large_is_refused(house: House, web_role: Served) -> None:
    status, answer = await deliver(house, web_role, webhook(new_id(), padding="x" * 20_000))
    assert (status, answer["code"]) == (413, "payload_too_large")


async def test_an_unknown_provider_is_not_found(house: House, web_role: Served) -> None:
    async with web_role.client.post("/v1/webhooks/payments/barter", data=b"{}") as answer:
        assert answer.status == 404
        assert (await answer.json())["code"] == "provider_not_found"


OTHERS = [{"amount": 1998}, {"amount": 2000}, {"currency": "EUR"}]


@pytest.mark.parametrize("change", OTHERS)
async def test_another_amount_without_money_changes_nothing_and_is_counted(
    house: House, web_role: Served, change: dict[str, Any]
) -> None:
    payment = await pending(house)
    _, answer = await deliver(house, web_role, webhook(payment.payment_id, "authorized", **change))
    assert answer["outcome"] == "mismatch"
    assert (await house.payment(payment.payment_id)).status is PaymentStatus.PENDING
    assert await house.told(payment.order_id) == []
    (family,) = house.service.metrics.mismatched_reports.collect()
    assert family.samples[0].value == 1


@pytest.mark.parametrize("change", OTHERS)
async def test_money_of_another_amount_is_booked_and_goes_back(
    house: House, web_role: Served, change: dict[str, Any]
) -> None:
    payment = await pending(house)
    body = webhook(payment.payment_id, **change)
    for outcome in ("changed", "unchanged"):
        assert (await deliver(house, web_role, body))[1]["outcome"] == outcome
    taken = await house.payment(payment.payment_id)
    assert taken.status is CAPTURED
    assert {**TOTAL.as_json(), **change} == taken.amount.as_json()
    assert not taken.keeps_order
    # The orders hear of it, and answer that it must go back.
    settlement = OrderSettlement(house.pool, holds=Never(), units=Never())
    (event,) = await heard(house, Topic.PAYMENT_CAPTURED)
    await settlement.payment_captured(event)
    (event,) = await heard(house, Topic.ORDER_REFUND_DUE)
    assert event.payload["reason"] == "amount_mismatch"
    assert await house.violations() == ["captures_of_another_amount_go_back"]
    await house.service.on_refund_due(event)
    (refund,) = await house.refunds(payment.payment_id)
    assert refund.amount == taken.amount
    assert await house.violations() == []
    # The buyer may still pay what the order costs.
    again = await pending_of(house, payment.order_id)
    await deliver(house, web_role, webhook(again.payment_id, "captured", "pay_2"))
    assert (await house.payment(again.payment_id)).keeps_order


class Never:
    """Parts that must not be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


async def heard(house: House, topic: Topic) -> list[Event]:
    rows = await house.pool.fetch("SELECT * FROM outbox WHERE topic = $1", topic)
    return [Event(topic, row["key"], row["payload"], row["event_id"]) for row in rows]


async def test_an_event_about_something_else_is_ignored(house: House, web_role: Served) -> None:
    _, answer = await deliver(house, web_role, b'{"type": "payout.paid", "data": {}}')
    assert answer["outcome"] == "ignored"


async def test_another_payments_reference_is_not_taken_over(house: House, web_role: Served) -> None:
    payment = await pending(house)
    await deliver(house, web_role, webhook(payment.payment_id, "authorized", "pay_1"))
    _, answer = await deliver(house, web_role, webhook(payment.payment_id, "captured", "pay_2"))
    assert answer["outcome"] == "unknown"
    assert (await house.payment(payment.payment_id)).status is PaymentStatus.AUTHORIZED


async def test_a_simulator_at_its_worst_is_survived(house: House, simulator: Simulator) -> None:
    """Duplicated, reordered, delayed and half of them lost: every capture is found all the same."""
    await simulator.control(
        duplicate_webhooks=3,
        reorder_webhooks=True,
        delay_webhook_ms=50,
        drop_webhook_rate=0.5,
    )
    payments = [await house.started() for _ in range(8)]
    decisions = ["approve", "decline"] * 4
    for payment, decision in zip(payments, decisions, strict=True):
        assert await simulator.decide(payment.action.url, decision) == 200

    async def all_known() -> bool:
        await house.service.upkeep.ask_silent()
        return not [each for each in payments if (await house.payment(each.payment_id)).is_open]

    await until(all_known)
    await simulator.delivered()
    for payment, decision in zip(payments, decisions, strict=True):
        found = await house.payment(payment.payment_id)
        approved = decision == "approve"
        assert found.status is (CAPTURED if approved else PaymentStatus.FAILED)
        told = await house.told(payment.order_id)
        assert told.count("payment.captured") == int(approved)
        assert told.count("payment.failed") == int(not approved)
    for payment in payments[::2]:
        await house.set_order(payment.order_id, "paid")
    assert await house.violations() == []


async def test_webhooks_go_on_after_the_service_was_away(
    house: House, web_role: Served, simulator: Simulator
) -> None:
    """The simulator is killed with undelivered webhooks; the next run delivers them."""
    payment = await house.started()
    await simulator.control(delay_webhook_ms=60_000)
    await simulator.decide(payment.action.url, "approve")
    assert (await simulator.ledger())["webhooks"]["waiting"] == 2
    await simulator.stop()
    await simulator.start()
    await house.reaches(payment.payment_id, CAPTURED)


async def test_old_webhooks_are_removed(house: House, web_role: Served) -> None:
    for _ in range(3):
        await deliver(house, web_role, webhook(new_id()))
    assert await house.service.upkeep.purge_webhooks() == 0
    await house.pool.execute(
        "UPDATE payment_webhooks SET received_at = now() - interval '31 days' "
        "WHERE event_id = (SELECT min(event_id) FROM payment_webhooks)"
    )
    assert await house.service.upkeep.purge_webhooks() == 1
    assert await kept(house) == 2


async def test_a_kept_one_that_cannot_be_applied_holds_up_no_other(
    house: House, web_role: Served
) -> None:
    bad, good = await pending(house), await pending(house)
    for payment, event_id in ((bad, "evt_bad"), (good, "evt_good")):
        body = webhook(payment.payment_id, reference=f"pay_{event_id}")
        await deliver(house, web_role, body, event_id=event_id)
    # As if both had come before their payments, and what is kept of the first were spoilt.
    await house.pool.execute(
        "UPDATE payments SET status = 'pending', captured_at = NULL, keeps_order = false"
    )
    await house.pool.execute("UPDATE payment_webhooks SET applied_at = NULL, outcome = NULL")
    await house.pool.execute(
        "UPDATE payment_webhooks SET event = '{}', received_at = now() - interval '1 hour',"
        " apply_at = now() - interval '1 hour' WHERE event_id = 'evt_bad'"
    )
    await house.service.upkeep.apply_kept_webhooks()
    assert (await house.payment(good.payment_id)).status is CAPTURED
    waits = await house.pool.fetchrow("SELECT * FROM payment_webhooks WHERE applied_at IS NULL")
    assert (waits["event_id"], waits["failures"]) == ("evt_bad", 1)
    assert waits["apply_at"] > datetime.now(UTC)
    assert await house.service.upkeep.apply_kept_webhooks() == 0
