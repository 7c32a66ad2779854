"""Making our books and the providers' agree again: what the worker does, a bounded round at a time.

Each round claims rows by moving their next turn on (so a crash, or a second worker, costs nothing)
and calls the provider after the claim is committed. A provider that is away rests, longer each
time, and the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog

from flashorder.infra.postgres.pool import Connection, Pool, transaction
from flashorder.kernel.errors import DatabaseUnavailable, ProviderUnavailable
from flashorder.payments import store
from flashorder.payments.model import PaymentStatus, ReportOutcome
from flashorder.payments.providers.port import (
    CaptureMethod,
    PaymentReport,
    PaymentRequest,
    ProviderEvent,
    RefundRequest,
)
from flashorder.payments.providers.registry import ProviderRegistry
from flashorder.payments.recording import Recorder
from flashorder.payments.records import Payment, Refund
from flashorder.settings import Settings

log = structlog.get_logger(__name__)

REST_SECONDS_FIRST = 0.5
REST_SECONDS_MAX = 30.0
REFUND_PAUSE_SECONDS = 5.0
MISSED_MAX = 2
T = TypeVar("T")


@dataclass(slots=True)
class _Rest:
    failures: int = 0
    until: float = 0.0


class Upkeep:
    """Rounds for the worker's jobs, and the single steps that requests take themselves."""

    def __init__(
        self, pool: Pool, providers: ProviderRegistry, recorder: Recorder, settings: Settings
    ) -> None:
        self._pool = pool
        self._providers = providers
        self._recorder = recorder
        self._settings = settings
        self._rests = {provider.name: _Rest() for provider in providers}

    # -- single steps; each may raise ProviderUnavailable and may be repeated

    async def create_at_provider(self, payment: Payment) -> Payment:
        """Begin the payment at its provider, for the first time or again."""
        capture: CaptureMethod = (
            "manual" if self._settings.payment_capture == "manual" else "automatic"
        )
        report = await self._providers[payment.provider].create(
            PaymentRequest(
                payment_id=payment.payment_id,
                amount=payment.amount,
                capture_method=capture,
                method=payment.method,
                return_url=payment.return_url,
            )
        )
        return await self.record(payment, report)

    async def close_at_provider(self, payment: Payment) -> Payment:
        """Void the payment. One that the provider may not know yet is begun first.

        Only so is it certain that a first call, still under way, cannot open it again: both carry
        the same key.
        """
        if payment.reference is None:
            payment = await self.create_at_provider(payment)
        if not payment.is_open or payment.reference is None:
            return payment
        provider = self._providers[payment.provider]
        return await self._heard(
            payment, await provider.void(payment.reference, payment.payment_id)
        )

    async def ask_provider(self, payment: Payment) -> Payment:
        """Query the provider and apply its answer as if it had come by webhook."""
        if payment.reference is None:
            return await self.create_at_provider(payment)
        report = await self._providers[payment.provider].query(payment.reference)
        return await self._heard(payment, report)

    async def _heard(self, payment: Payment, report: PaymentReport | None) -> Payment:
        """Apply what the provider says of a payment; None: it has no such payment.

        A provider may lose sight of a payment for a moment, so it has to say so twice, at two
        turns, before the payment expires.
        """
        if report is None:
            assert payment.reference is not None, "a provider is asked about what it has named"
            async with transaction(self._pool) as connection:
                missed = await store.note_missed(connection, payment.payment_id)
            log.error("payment_unknown_to_provider", payment_id=str(payment.payment_id))
            if missed < MISSED_MAX:
                return payment
            report = PaymentReport(
                reference=payment.reference,
                payment_id=payment.payment_id,
                status=PaymentStatus.EXPIRED,
                amount=payment.amount,
                failure_code="unknown_to_provider",
            )
        return await self.record(payment, report)

    async def drive_refund(self, refund: Refund) -> Refund:
        """Ask the provider to give the money back, for the first time or again."""
        async with transaction(self._pool) as connection:
            payment = await store.find_payment(connection, refund.payment_id)
        assert payment is not None, "a foreign key holds the payment"
        assert payment.reference is not None, "a captured payment has a reference"
        report = await self._providers[payment.provider].refund(
            RefundRequest(
                refund_id=refund.refund_id,
                payment_id=payment.payment_id,
                payment_reference=payment.reference,
                amount=refund.amount,
                reason=refund.reason,
            )
        )
        async with transaction(self._pool) as connection:
            await self._recorder.record_refund(connection, refund, report)
            return await store.find_refund(connection, refund.refund_id) or refund

    async def record(self, payment: Payment, report: PaymentReport) -> Payment:
        """Apply ``report``; returns the payment as it is afterwards."""
        async with transaction(self._pool) as connection:
            await self._recorder.record_payment(connection, payment, report)
            return await store.find_payment(connection, payment.payment_id) or payment

    # -- rounds; each returns how much it did

    async def ask_silent(self) -> int:
        """Silent payments are asked about, unfinished ones begun again, unwanted ones voided."""

        async def step(claimed: tuple[Payment, bool]) -> None:
            payment, unwanted = claimed
            await (self.close_at_provider(payment) if unwanted else self.ask_provider(payment))

        async def claim(provider: str) -> Sequence[tuple[Payment, bool]]:
            async with transaction(self._pool) as connection:
                return await store.claim_payments_to_ask(
                    connection,
                    provider,
                    self._settings.payment_silence_seconds,
                    self._settings.payment_batch_max,
                )

        return await self._round(claim, step)

    async def drive_refunds(self) -> int:
        """Pending refunds are asked for, again and again, until the provider says what became."""

        async def claim(provider: str) -> Sequence[Refund]:
            async with transaction(self._pool) as connection:
                return await store.claim_refunds_to_drive(
                    connection, provider, REFUND_PAUSE_SECONDS, self._settings.payment_batch_max
                )

        return await self._round(claim, self.drive_refund)

    async def apply_kept_webhooks(self) -> int:
        """Webhooks that came before their payment are applied once it is there.

        One that cannot be applied is pushed back, and holds up no other.
        """
        applied = 0
        while applied < self._settings.payment_batch_max:
            async with transaction(self._pool) as connection:
                kept = await store.claim_kept_webhook(connection)
                if kept is None:
                    break
                provider, event_id, event = kept
                try:
                    async with connection.transaction():
                        await self._apply(connection, provider, event_id, event)
                except Exception as error:  # whatever it was, it is told and tried again
                    log.error("webhook_not_applied", event_id=event_id, error=repr(error))
                    await store.push_webhook_back(connection, provider, event_id)
                applied += 1
        return applied

    async def _apply(
        self, connection: Connection, provider: str, event_id: str, event: object
    ) -> None:
        report = msgspec.convert(event, ProviderEvent).report
        outcome = await self._recorder.record(connection, provider, report)
        assert outcome is not ReportOutcome.UNKNOWN, "the claim looks for its subject"
        await store.close_webhook(connection, provider, event_id, outcome)

    async def purge_webhooks(self) -> int:
        """Webhooks past their retention are removed."""
        async with transaction(self._pool) as connection:
            return await store.purge_webhooks(
                connection,
                self._settings.payment_webhook_retention_seconds,
                self._settings.payment_batch_max,
            )

    async def _round(
        self,
        claim: Callable[[str], Awaitable[Sequence[T]]],
        step: Callable[[T], Awaitable[object]],
    ) -> int:
        done = 0
        now = asyncio.get_running_loop().time()
        for name, rest in self._rests.items():
            if rest.until <= now:
                done += await self._drive(rest, await claim(name), step)
        return done

    async def _drive(
        self, rest: _Rest, claimed: Sequence[T], step: Callable[[T], Awaitable[object]]
    ) -> int:
        """Take ``step`` for each, a few at once; stop beginning new ones when the provider is away.

        What was claimed and not done, or failed, has its next turn already.
        """
        waiting = iter(claimed)
        done = 0
        away: ProviderUnavailable | None = None

        async def work() -> None:
            nonlocal done, away
            for each in waiting:
                try:
                    await step(each)
                    done += 1
                except ProviderUnavailable as error:
                    away = error
                except DatabaseUnavailable:
                    raise
                except Exception as error:  # of this one alone: the others go on
                    log.error("payment_step_failed", step=step.__name__, error=repr(error))
                if away is not None:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._settings.provider_calls_max, len(claimed))):
                group.create_task(work())
        if away is not None:
            rest.failures += 1
            rest_seconds = min(REST_SECONDS_MAX, REST_SECONDS_FIRST * 2 ** min(rest.failures, 10))
            rest.until = asyncio.get_running_loop().time() + rest_seconds
            log.warning("provider_away", failures=rest.failures, error=away.detail)
        elif claimed:
            rest.failures = 0
        return done
