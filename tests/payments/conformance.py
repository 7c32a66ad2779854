"""What every payment provider's adapter must do: derive from ``ProviderConformance``.

The subclass gives a fixture ``harness``: the adapter under test, connected to the provider's test
environment, and hands for the buyer's part of it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from flashorder.kernel.errors import ProviderUnavailable, Unauthenticated
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.payments.model import PaymentStatus, RefundStatus
from flashorder.payments.providers.port import (
    PaymentProvider,
    PaymentReport,
    PaymentRequest,
    RefundReport,
    RefundRequest,
)

AMOUNT = Money(1999, "GBP")


class ProviderHarness(Protocol):
    """One adapter and its provider's test environment."""

    provider: PaymentProvider

    async def approve(self, report: PaymentReport) -> None:
        """The buyer approves."""
        ...

    async def decline(self, report: PaymentReport) -> None:
        """The buyer declines."""
        ...

    async def webhooks(self, count: int) -> list[tuple[Mapping[str, str], bytes]]:
        """The first ``count`` deliveries, once they are there."""
        ...

    def away(self) -> AbstractAsyncContextManager[None]:
        """Nothing answers at the provider's address."""
        ...

    def slow(self) -> AbstractAsyncContextManager[None]:
        """Answers come later than the adapter waits, although what is asked for is done."""
        ...


def request(**changes: object) -> PaymentRequest:
    return PaymentRequest(**{"payment_id": new_id(), "amount": AMOUNT, **changes})


class ProviderConformance:
    """The suite."""

    async def captured(self, harness: ProviderHarness) -> PaymentReport:
        report = await harness.provider.create(request())
        await harness.approve(report)
        return report

    def refund_of(self, payment: PaymentReport, amount: int = AMOUNT.amount) -> RefundRequest:
        assert payment.reference is not None
        assert payment.payment_id is not None
        return RefundRequest(
            refund_id=new_id(),
            payment_id=payment.payment_id,
            payment_reference=payment.reference,
            amount=Money(amount, "GBP"),
            reason="order_cancelled",
        )

    async def test_a_payment_begins_with_an_action(self, harness: ProviderHarness) -> None:
        wanted = request()
        report = await harness.provider.create(wanted)
        assert report.status is PaymentStatus.REQUIRES_ACTION
        assert report.reference
        assert report.payment_id == wanted.payment_id
        assert report.amount == AMOUNT
        assert report.action is not None
        assert report.action.url.startswith("http")

    async def test_the_same_payment_is_begun_once(self, harness: ProviderHarness) -> None:
        wanted = request()
        reports = await asyncio.gather(*(harness.provider.create(wanted) for _ in range(5)))
        assert len({report.reference for report in reports}) == 1
        other = await harness.provider.create(request())
        assert other.reference != reports[0].reference

    async def test_a_repeated_beginning_reports_the_present(self, harness: ProviderHarness) -> None:
        wanted = request()
        await harness.approve(await harness.provider.create(wanted))
        assert (await harness.provider.create(wanted)).status is PaymentStatus.CAPTURED

    async def test_an_approval_captures(self, harness: ProviderHarness) -> None:
        payment = await self.captured(harness)
        report = await harness.provider.query(payment.reference)
        assert report is not None
        assert report.status is PaymentStatus.CAPTURED
        assert report.amount == AMOUNT

    async def test_manual_capture(self, harness: ProviderHarness) -> None:
        wanted = request(capture_method="manual")
        payment = await harness.provider.create(wanted)
        await harness.approve(payment)
        report = await harness.provider.query(payment.reference)
        assert report.status is PaymentStatus.AUTHORIZED
        for _ in range(2):
            report = await harness.provider.capture(payment.reference, wanted.payment_id)
            assert report.status is PaymentStatus.CAPTURED

    async def test_what_is_not_authorised_is_not_captured(self, harness: ProviderHarness) -> None:
        payment = await harness.provider.create(request())
        report = await harness.provider.capture(payment.reference, payment.payment_id)
        assert report.status is PaymentStatus.REQUIRES_ACTION

    async def test_a_decline_is_told_with_its_code(self, harness: ProviderHarness) -> None:
        payment = await harness.provider.create(request())
        await harness.decline(payment)
        report = await harness.provider.query(payment.reference)
        assert report.status is PaymentStatus.FAILED
        assert report.failure_code

    async def test_a_void_ends_it(self, harness: ProviderHarness) -> None:
        payment = await harness.provider.create(request())
        for _ in range(2):
            report = await harness.provider.void(payment.reference, payment.payment_id)
            assert report.status is PaymentStatus.VOIDED

    async def test_a_void_after_the_capture_reports_the_capture(
        self, harness: ProviderHarness
    ) -> None:
        payment = await self.captured(harness)
        report = await harness.provider.void(payment.reference, payment.payment_id)
        assert report.status is PaymentStatus.CAPTURED

    async def test_what_does_not_exist_is_none(self, harness: ProviderHarness) -> None:
        unknown, payment_id = f"pay_{uuid.uuid4().hex}", uuid.uuid4()
        assert await harness.provider.query(unknown) is None
        assert await harness.provider.void(unknown, payment_id) is None
        assert await harness.provider.capture(unknown, payment_id) is None

    async def test_refunds(self, harness: ProviderHarness) -> None:
        payment = await self.captured(harness)
        wanted = self.refund_of(payment, 1000)
        reports = [await harness.provider.refund(wanted) for _ in range(3)]
        assert {report.status for report in reports} == {RefundStatus.SUCCEEDED}
        assert {report.reference for report in reports} == {reports[0].reference}
        assert reports[0].refund_id == wanted.refund_id
        beyond = await harness.provider.refund(self.refund_of(payment, 1000))
        assert beyond.status is RefundStatus.FAILED
        assert beyond.failure_code
        rest = await harness.provider.refund(self.refund_of(payment, 999))
        assert rest.status is RefundStatus.SUCCEEDED

    async def test_what_was_not_taken_is_not_given_back(self, harness: ProviderHarness) -> None:
        payment = await harness.provider.create(request())
        report = await harness.provider.refund(self.refund_of(payment))
        assert report.status is RefundStatus.FAILED

    async def test_webhooks_say_what_a_query_says(self, harness: ProviderHarness) -> None:
        payment = await self.captured(harness)
        await harness.provider.refund(self.refund_of(payment))
        events = [
            harness.provider.verify_webhook(headers, body)
            for headers, body in await harness.webhooks(3)
        ]
        assert len({event.event_id for event in events}) == 3
        authorized, captured, refunded = (event.report for event in events)
        assert authorized.status is PaymentStatus.AUTHORIZED
        assert captured == await harness.provider.query(payment.reference)
        assert isinstance(refunded, RefundReport)
        assert refunded.status is RefundStatus.SUCCEEDED
        assert refunded.payment_reference == payment.reference

    async def test_a_webhook_that_was_touched_is_refused(self, harness: ProviderHarness) -> None:
        await self.captured(harness)
        ((headers, body),) = (await harness.webhooks(2))[:1]
        harness.provider.verify_webhook(headers, body)
        touched = [body + b" ", body[:-1], b"", body.replace(b"1999", b"1998"), b"\xff" + body]
        for each in touched:
            with pytest.raises(Unauthenticated) as refusal:
                harness.provider.verify_webhook(headers, each)
            assert refusal.value.code == "signature_invalid"
        for name in headers:
            if name.lower().startswith("webhook-"):
                for value in ("", "x", headers[name][:-1], "v1,=", "1e999", "nan"):
                    with pytest.raises(Unauthenticated):
                        harness.provider.verify_webhook({**headers, name: value}, body)

    async def test_a_provider_that_is_away_is_unavailable(self, harness: ProviderHarness) -> None:
        payment = await self.captured(harness)
        async with harness.away():
            for call in (
                harness.provider.create(request()),
                harness.provider.query(payment.reference),
                harness.provider.capture(payment.reference, payment.payment_id),
                harness.provider.void(payment.reference, payment.payment_id),
                harness.provider.refund(self.refund_of(payment)),
            ):
                with pytest.raises(ProviderUnavailable) as failure:
                    await call
                assert failure.value.retry_after_seconds

    async def test_a_lost_answer_is_made_good_by_a_repeat(self, harness: ProviderHarness) -> None:
        wanted = request()
        async with harness.slow():
            with pytest.raises(ProviderUnavailable):
                await harness.provider.create(wanted)
        payment = await harness.provider.create(wanted)
        assert payment.payment_id == wanted.payment_id
        await harness.approve(payment)
        refund = self.refund_of(payment)
        async with harness.slow():
            with pytest.raises(ProviderUnavailable):
                await harness.provider.refund(refund)
        report = await harness.provider.refund(refund)
        assert report.status is RefundStatus.SUCCEEDED
