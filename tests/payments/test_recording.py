"""Any reports in any order against a model in memory: the database must agree throughout."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from prometheus_client import CollectorRegistry

from flashorder.infra.postgres.pool import Pool, connect_postgres, transaction
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.payments import store
from flashorder.payments.invariants import INVARIANTS
from flashorder.payments.metrics import PaymentMetrics
from flashorder.payments.model import (
    OPEN,
    PAYMENT,
    PaymentStatus,
    RefundStatus,
    ReportOutcome,
)
from flashorder.payments.providers.port import PaymentReport, RefundReport
from flashorder.payments.recording import Recorder, request_refund
from tests.payments.house import House

T = TypeVar("T")
AMOUNT = 100
ATTEMPTS_MAX = 3
CAPTURED = PaymentStatus.CAPTURED
SHOWING_FAILED_REFUNDS = ("payments_one_keeps_the_order", "captures_of_another_amount_go_back")


@dataclass
class Believed:
    """What the model believes of a payment."""

    payment_id: uuid.UUID
    amount: int = AMOUNT
    status: PaymentStatus = PaymentStatus.PENDING
    keeps_order: bool = False
    refunds: dict[str, Giving] = field(default_factory=dict)

    @property
    def refunded(self) -> int:
        live = (RefundStatus.PENDING, RefundStatus.SUCCEEDED)
        return sum(each.amount for each in self.refunds.values() if each.status in live)


@dataclass
class Giving:
    """What the model believes of a refund."""

    amount: int
    status: RefundStatus = RefundStatus.PENDING
    attempt: int = 1


class PaymentBooks(RuleBasedStateMachine):
    """One order, several attempts at different providers, reports and refunds in any order."""

    payments = Bundle("payments")
    url = ""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.pool: Pool = self.run(connect_postgres(self.url))
        self.run(self.pool.execute("TRUNCATE payments, refunds, outbox, orders CASCADE"))
        self.order_id = new_id()
        self.run(
            self.pool.execute(
                "INSERT INTO orders (order_id, order_number, buyer_id, currency, total_amount,"
                " accepted_at, status, paid_at)"
                " VALUES ($1, 'N', $1, 'GBP', $2, now(), 'paid', now())",
                self.order_id,
                AMOUNT,
            )
        )
        self.recorder = Recorder(1, ATTEMPTS_MAX, 60, PaymentMetrics(CollectorRegistry()))
        self.believed: list[Believed] = []
        self.told: list[str] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.run(self.pool.close())
            self.runner.close()

    @rule(target=payments)
    def attempt(self) -> Believed:
        fresh = Believed(new_id())
        self.run(
            self.pool.execute(
                "INSERT INTO payments (payment_id, order_id, buyer_id, provider, amount, currency,"
                " attempt) VALUES ($1, $2, $2, $3, $4, 'GBP', $5)",
                fresh.payment_id,
                self.order_id,
                f"provider-{len(self.believed)}",
                AMOUNT,
                len(self.believed) + 1,
            )
        )
        self.believed.append(fresh)
        return fresh

    @rule(payment=payments, status=st.sampled_from(PaymentStatus))
    def report(self, payment: Believed, status: PaymentStatus) -> None:
        outcome = self.run(self._reported(payment, status))
        if not PAYMENT.permits(payment.status, status):
            assert outcome is ReportOutcome.UNCHANGED
            return
        assert outcome is ReportOutcome.CHANGED
        payment.status = status
        if status is CAPTURED:
            if any(each.keeps_order for each in self.believed):
                payment.refunds["duplicate_payment"] = Giving(payment.amount)
                return
            payment.keeps_order = True
        topic = "failed" if status is PaymentStatus.EXPIRED else str(status)
        if topic in ("authorized", "captured", "failed"):
            self.told.append(f"payment.{topic}")

    @rule(payment=payments, status=st.sampled_from(PaymentStatus), off=st.sampled_from([-1, 1]))
    def wrong_amount(self, payment: Believed, status: PaymentStatus, off: int) -> None:
        outcome = self.run(self._reported(payment, status, off))
        if status is not CAPTURED or payment.status is CAPTURED:
            assert outcome is ReportOutcome.MISMATCH
            return
        assert outcome is ReportOutcome.CHANGED
        payment.status, payment.amount = CAPTURED, payment.amount + off
        self.told.append("payment.captured")
        # The orders hear of it and say that it must go back.
        assert self.run(self._refund_requested(payment, None, "amount_mismatch")) is not None
        payment.refunds["amount_mismatch"] = Giving(payment.amount)

    @rule(
        payment=payments,
        amount=st.one_of(st.none(), st.integers(1, AMOUNT + 1)),
        key=st.sampled_from("abc"),
    )
    def refund(self, payment: Believed, amount: int | None, key: str) -> None:
        given = self.run(self._refund_requested(payment, amount, key))
        left = payment.amount - payment.refunded
        wanted = left if amount is None else amount
        if key in payment.refunds:
            assert given is not None
            assert given.amount.amount == payment.refunds[key].amount
        elif payment.status is not CAPTURED or not 0 < wanted <= left:
            assert given is None
        else:
            assert given is not None
            payment.refunds[key] = Giving(wanted)
            payment.keeps_order = payment.keeps_order and payment.refunded < payment.amount

    @rule(
        payment=payments,
        chosen=st.integers(0, 10),
        status=st.sampled_from(RefundStatus),
    )
    def refund_report(self, payment: Believed, chosen: int, status: RefundStatus) -> None:
        if not payment.refunds:
            return
        key = list(payment.refunds)[chosen % len(payment.refunds)]
        giving = payment.refunds[key]
        outcome = self.run(self._refund_reported(payment, key, giving, status))
        if giving.status is not RefundStatus.PENDING or status is RefundStatus.PENDING:
            assert outcome is ReportOutcome.UNCHANGED
            return
        assert outcome is ReportOutcome.CHANGED
        giving.status = status
        if status is RefundStatus.SUCCEEDED:
            self.told.append("refund.succeeded")
        elif giving.attempt < ATTEMPTS_MAX:
            attempt = giving.attempt + 1
            again = f"{key.partition(':')[0]}:{attempt}"
            payment.refunds[again] = Giving(giving.amount, attempt=attempt)

    @rule(payment=payments, status=st.sampled_from(PaymentStatus))
    def assign(self, payment: Believed, status: PaymentStatus) -> None:
        """Whoever sets a status without its timestamp is stopped by the database."""
        if status is payment.status or {status, payment.status} <= OPEN:
            return
        with contextlib.suppress(asyncpg.CheckViolationError):
            self.run(self._assigned(payment, status))
            both_ended = status is not CAPTURED and payment.status is not CAPTURED
            assert both_ended
            assert not {status, payment.status} & OPEN

    @invariant()
    def the_database_agrees(self) -> None:
        if not hasattr(self, "pool"):
            return
        rows = self.run(self.pool.fetch("SELECT * FROM payments ORDER BY attempt"))
        assert [(row["status"], row["keeps_order"], row["refunded_amount"]) for row in rows] == [
            (each.status, each.keeps_order, each.refunded) for each in self.believed
        ]
        told = self.run(self.pool.fetch("SELECT topic FROM outbox ORDER BY event_id"))
        assert [row["topic"] for row in told] == self.told
        assert sum(each.keeps_order for each in self.believed) <= 1

    @invariant()
    def the_invariants_hold(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.run(self.pool.execute("UPDATE outbox SET processed_at = now()"))
        for each in INVARIANTS:
            if each.name in SHOWING_FAILED_REFUNDS and self._a_refund_failed():
                continue  # money that could not be given back is just what it is to show
            assert not self.run(self.pool.fetch(each.sql)), each.name

    def _a_refund_failed(self) -> bool:
        givings = [giving for each in self.believed for giving in each.refunds.values()]
        return any(giving.status is RefundStatus.FAILED for giving in givings)

    async def _reported(
        self, payment: Believed, status: PaymentStatus, off: int = 0
    ) -> ReportOutcome:
        async with transaction(self.pool) as connection:
            known = await store.find_payment(connection, payment.payment_id)
            assert known is not None
            return await self.recorder.record(
                connection,
                known.provider,
                PaymentReport(
                    reference=f"pay_{payment.payment_id.hex}",
                    payment_id=payment.payment_id,
                    status=status,
                    amount=Money(payment.amount + off, "GBP"),
                ),
            )

    async def _refund_requested(self, payment: Believed, amount: int | None, key: str) -> Any:
        async with transaction(self.pool) as connection:
            known = await store.find_payment(connection, payment.payment_id)
            assert known is not None
            return await request_refund(
                connection, known, reason="because", request_key=key, amount=amount
            )

    async def _refund_reported(
        self, payment: Believed, key: str, giving: Giving, status: RefundStatus
    ) -> ReportOutcome:
        async with transaction(self.pool) as connection:
            refund = await store.refund_by_key(connection, payment.payment_id, key)
            assert refund is not None
            report = RefundReport(
                reference=f"re_{refund.refund_id.hex}",
                refund_id=refund.refund_id,
                payment_reference=None,
                status=status,
                amount=refund.amount,
            )
            assert refund.amount.amount == giving.amount
            return await self.recorder.record(connection, "any", report)

    async def _assigned(self, payment: Believed, status: PaymentStatus) -> None:
        async with self.pool.acquire() as connection:
            attempt = connection.transaction()
            await attempt.start()
            try:
                await connection.execute(
                    "UPDATE payments SET status = $2 WHERE payment_id = $1",
                    payment.payment_id,
                    status,
                )
            finally:
                await attempt.rollback()


def test_any_order_of_reports_and_refunds(database_url: str) -> None:
    PaymentBooks.url = database_url
    run_state_machine_as_test(
        PaymentBooks,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_the_second_capture_of_an_order_is_given_back(house: House) -> None:
    """Two providers, both approved in the same moment: one keeps the order, one goes back."""
    for _ in range(5):
        order_id, buyer_id = await house.order()
        ids = [new_id(), new_id()]
        for attempt, payment_id in enumerate(ids, 1):
            await house.pool.execute(
                "INSERT INTO payments (payment_id, order_id, buyer_id, provider, amount, currency,"
                " attempt) VALUES ($1, $2, $3, $4, 1999, 'GBP', $5)",
                payment_id,
                order_id,
                buyer_id,
                f"provider-{attempt}",
                attempt,
            )
        payments = [await house.payment(payment_id) for payment_id in ids]
        await asyncio.gather(
            *(house.service.upkeep.record(each, house.report(each, CAPTURED)) for each in payments)
        )
        after = [await house.payment(payment_id) for payment_id in ids]
        assert [each.status for each in after] == [CAPTURED, CAPTURED]
        assert sorted(each.keeps_order for each in after) == [False, True]
        (given_back,) = [each for each in after if not each.keeps_order]
        (refund,) = await house.refunds(given_back.payment_id)
        assert refund.amount == given_back.amount
        assert await house.told(order_id) == ["payment.captured"]
        await house.set_order(order_id, "paid")
    assert await house.violations() == []


async def test_two_captures_cannot_both_keep_an_order(house: House) -> None:
    insert = (
        "INSERT INTO payments (payment_id, order_id, buyer_id, provider, provider_reference, "
        "status, amount, currency, attempt, captured_at, keeps_order) "
        "VALUES (gen_random_uuid(), $1, $1, 'p', $2, 'captured', 1, 'GBP', $3, now(), true)"
    )
    order_id = new_id()
    await house.pool.execute(insert, order_id, "a", 1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await house.pool.execute(insert, order_id, "b", 2)
