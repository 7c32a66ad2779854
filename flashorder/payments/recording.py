"""What a provider says becomes what our books say: here, in one place, whichever way it came.

Webhook, answer and query all end in a report; reports come late, twice and out of order. The
machine lets a payment only rise (see ``model``), so applying reports in any order ends the same.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import structlog

from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import Connection
from flashorder.kernel.events import Event, Topic
from flashorder.kernel.money import Money
from flashorder.payments import store
from flashorder.payments.metrics import PaymentMetrics
from flashorder.payments.model import PAYMENT, REFUND, PaymentStatus, RefundStatus, ReportOutcome
from flashorder.payments.providers.port import PaymentReport, RefundReport, Report
from flashorder.payments.records import Payment, Refund

log = structlog.get_logger(__name__)

DUPLICATE_CAPTURE = "duplicate_payment"
_TOPICS = {
    PaymentStatus.AUTHORIZED: Topic.PAYMENT_AUTHORIZED,
    PaymentStatus.CAPTURED: Topic.PAYMENT_CAPTURED,
    PaymentStatus.FAILED: Topic.PAYMENT_FAILED,
    PaymentStatus.EXPIRED: Topic.PAYMENT_FAILED,
}


@dataclass(frozen=True, slots=True)
class Recorder:
    """Applies reports within the transaction of the caller.

    ``silence_seconds``: how long after a change the worker waits before it asks the provider. A
    refund that the house owes is tried ``refund_attempts_max`` times, first again after
    ``refund_retry_seconds``, then after twice as long each time.
    """

    silence_seconds: float
    refund_attempts_max: int
    refund_retry_seconds: float
    metrics: PaymentMetrics

    async def record(self, connection: Connection, provider: str, report: Report) -> ReportOutcome:
        """Apply ``report`` to the payment or refund that it names."""
        if isinstance(report, PaymentReport):
            payment = await store.payment_named_by(connection, provider, report)
            if payment is None:
                return ReportOutcome.UNKNOWN
            return await self.record_payment(connection, payment, report)
        if isinstance(report, RefundReport):
            if report.refund_id is None:
                return ReportOutcome.IGNORED
            refund = await store.find_refund(connection, report.refund_id)
            if refund is None:
                return ReportOutcome.UNKNOWN
            return await self.record_refund(connection, refund, report)
        return ReportOutcome.IGNORED

    async def record_payment(
        self, connection: Connection, payment: Payment, report: PaymentReport
    ) -> ReportOutcome:
        """Apply ``report`` to ``payment``; a step back, or aside, changes nothing.

        Money that was taken is booked as it was taken: of another amount or currency than was asked
        for, it does not keep the order, and the orders say that it must go back.
        """
        siblings = await store.lock_payments_of_order(connection, payment.order_id)
        present = siblings[payment.payment_id]
        permitted = PAYMENT.permits(present.status, report.status)
        captures = permitted and report.status is PaymentStatus.CAPTURED
        agrees = self._agrees(payment.payment_id, present.amount, report.amount)
        if not agrees and not (captures and report.amount.amount >= 0):
            return ReportOutcome.MISMATCH
        if not permitted:
            await store.note_heard(connection, payment.payment_id, report)
            return ReportOutcome.UNCHANGED
        moved = await store.move_payment(
            connection, payment.payment_id, report, self.silence_seconds
        )
        assert moved is not None, "the payment is locked, so what was permitted still is"
        if moved.status is PaymentStatus.CAPTURED and agrees and not moved.keeps_order:
            # The order stands on another capture already, so this one is told to nobody.
            await request_refund(
                connection, moved, reason=DUPLICATE_CAPTURE, request_key=DUPLICATE_CAPTURE
            )
        elif moved.status in _TOPICS:
            await publish(connection, [_told(_TOPICS[moved.status], moved)])
        return ReportOutcome.CHANGED

    async def record_refund(
        self, connection: Connection, refund: Refund, report: RefundReport
    ) -> ReportOutcome:
        """Apply ``report`` to ``refund``."""
        if not self._agrees(refund.refund_id, refund.amount, report.amount):
            return ReportOutcome.MISMATCH
        await store.lock_payments_of_order(connection, refund.order_id)
        if report.status is RefundStatus.PENDING:
            await store.note_refund_heard(connection, refund.refund_id, report.reference)
            return ReportOutcome.UNCHANGED
        assert REFUND.permits(RefundStatus.PENDING, report.status)
        moved = await store.move_refund(connection, refund.refund_id, report)
        if moved is None:
            return ReportOutcome.UNCHANGED
        if moved.status is RefundStatus.FAILED:
            log.warning("refund_refused", refund_id=str(moved.refund_id), code=moved.failure_code)
            await store.uncount_refund(connection, moved)
            if moved.requested_by is None:
                await self._try_again(connection, moved)
        else:
            await publish(connection, [_told(Topic.REFUND_SUCCEEDED, moved)])
        return ReportOutcome.CHANGED

    async def _try_again(self, connection: Connection, refused: Refund) -> None:
        """Write the next attempt down, for later; an operator's refund is left to the operator."""
        if refused.attempt >= self.refund_attempts_max:
            log.error("refund_needs_a_person", payment_id=str(refused.payment_id))
            return
        await store.insert_refund(
            connection,
            refused.payment_id,
            refused.amount.amount,
            reason=refused.reason,
            request_key=refused.next_key,
            requested_by=None,
            lease_seconds=self.refund_retry_seconds * 2 ** (refused.attempt - 1),
            attempt=refused.attempt + 1,
        )

    def _agrees(self, subject: uuid.UUID, expected: Money, reported: Money) -> bool:
        """Whether a report of ``subject`` is about the amount in our books; if not, it is told."""
        if reported == expected:
            return True
        self.metrics.mismatched_reports.inc()
        log.error(
            "reported_amount_mismatch",
            subject=str(subject),
            expected=str(expected),
            reported=str(reported),
        )
        return False


async def request_refund(
    connection: Connection,
    payment: Payment,
    *,
    reason: str,
    request_key: str,
    amount: int | None = None,
    requested_by: uuid.UUID | None = None,
    lease_seconds: float = 0.0,
) -> Refund | None:
    """Write down that money must go back: ``amount`` minor units, or all that is left.

    The same ``request_key`` gives the refund that it gave before. None: there is not so much left
    (or, without an ``amount``, nothing). The worker does the rest after ``lease_seconds``.
    """
    siblings = await store.lock_payments_of_order(connection, payment.order_id)
    known = await store.refund_by_key(connection, payment.payment_id, request_key)
    if known is not None:
        return known
    wanted = siblings[payment.payment_id].unrefunded.amount if amount is None else amount
    if wanted <= 0:
        return None
    return await store.insert_refund(
        connection,
        payment.payment_id,
        wanted,
        reason=reason,
        request_key=request_key,
        requested_by=requested_by,
        lease_seconds=lease_seconds,
    )


def _told(topic: Topic, subject: Payment | Refund) -> Event:
    return Event(
        topic,
        subject.order_id,
        {
            "order_id": str(subject.order_id),
            "payment_id": str(subject.payment_id),
            **subject.amount.as_json(),
        },
    )
