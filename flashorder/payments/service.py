"""Paying an order: attempts, webhooks, and what operators do.

No provider is called in a transaction. What must happen at one is first written down (a row, a
refund, a wish to close) and committed, then called with a key that makes the call repeatable; a
crash in between is made good by ``flashorder.payments.upkeep``.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from flashorder.infra.postgres.pool import Pool, reading, transaction
from flashorder.kernel.errors import (
    Conflict,
    FieldError,
    FlashorderError,
    InvalidInput,
    InvalidState,
    MalformedRequest,
    NotFound,
    ProviderUnavailable,
    StoreUnavailable,
    TooEarly,
)
from flashorder.kernel.events import Event
from flashorder.kernel.identifiers import parse_id
from flashorder.kernel.money import Money
from flashorder.payments import store
from flashorder.payments.metrics import PaymentMetrics
from flashorder.payments.model import PaymentStatus, ReportOutcome
from flashorder.payments.providers.port import PaymentProvider
from flashorder.payments.providers.registry import ProviderRegistry
from flashorder.payments.recording import Recorder, request_refund
from flashorder.payments.records import Payment, Refund
from flashorder.payments.upkeep import Upkeep
from flashorder.reservations.ports import AcceptedPurchases
from flashorder.settings import Settings

_ORDER_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class PaymentDetails:
    """A payment with its refunds, oldest first."""

    payment: Payment
    refunds: list[Refund]


class PaymentService:
    """Use cases of payments.

    ``accepted`` tells an order that is on its way to PostgreSQL from one that never was; without it
    every unknown order is taken to be on its way.
    """

    def __init__(
        self,
        pool: Pool,
        providers: ProviderRegistry,
        settings: Settings,
        accepted: AcceptedPurchases | None = None,
        metrics: PaymentMetrics | None = None,
    ) -> None:
        self._pool = pool
        self._providers = providers
        self._settings = settings
        self._accepted = accepted
        self.metrics = metrics or PaymentMetrics(CollectorRegistry())
        self._recorder = Recorder(
            silence_seconds=settings.payment_silence_seconds,
            refund_attempts_max=settings.refund_attempts_max,
            refund_retry_seconds=settings.refund_retry_seconds,
            metrics=self.metrics,
        )
        self.upkeep = Upkeep(pool, providers, self._recorder, settings)

    # -- the buyer

    async def start(
        self,
        order_id: uuid.UUID,
        buyer_id: uuid.UUID,
        provider_name: str,
        *,
        method: str | None = None,
        return_url: str | None = None,
    ) -> Payment:
        """Begin to pay, or go on with the attempt that is open at this provider.

        Raises ``NotFound`` (not the buyer's order), ``TooEarly`` (``order_not_ready``: accepted,
        not in PostgreSQL yet), ``StoreUnavailable`` (nobody knows whether it was),
        ``InvalidState`` (not payable any more), ``Conflict`` (``too_many_attempts``),
        ``InvalidInput`` (no such provider), ``ProviderUnavailable`` (come again: it is the same
        attempt).
        """
        if self._providers.find(provider_name) is None:
            known = ", ".join(self._providers.names)
            detail = f"there is no such payment provider; known: {known}"
            raise InvalidInput(
                detail,
                code="unknown_provider",
                fields=(FieldError("/provider", "unknown_provider", detail),),
            )
        await self._wait_for_order(order_id, buyer_id)
        payment = await self._open_attempt(order_id, provider_name, method, return_url)
        if payment.status is PaymentStatus.PENDING:
            payment = await self.upkeep.create_at_provider(payment)
        return payment

    async def of_order(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> list[Payment]:
        """The attempts to pay the buyer's order, in order; raises like ``start``."""
        async with reading(self._pool) as connection:
            buyer = await store.order_buyer(connection, order_id)
            if buyer == buyer_id:
                return await store.payments_of_order(connection, order_id)
        if buyer is None and (why := await self._may_come(order_id, buyer_id)):
            raise why
        raise NotFound(code="order_not_found")

    async def _wait_for_order(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> None:
        """Return once the buyer's order is there; it follows its 202 within milliseconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.order_wait_seconds
        buyer = await self._buyer_of(order_id)
        if buyer is None and (why := await self._may_come(order_id, buyer_id)):
            while (buyer := await self._buyer_of(order_id)) is None:
                if loop.time() >= deadline:
                    raise why
                await asyncio.sleep(_ORDER_POLL_SECONDS)
        elif buyer is None:  # it may have come between the two looks
            buyer = await self._buyer_of(order_id)
        if buyer != buyer_id:
            raise NotFound(code="order_not_found")

    async def _buyer_of(self, order_id: uuid.UUID) -> uuid.UUID | None:
        async with reading(self._pool) as connection:
            return await store.order_buyer(connection, order_id)

    async def _may_come(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> FlashorderError | None:
        """What to say of an order that may come and has not; None: there is none to come."""
        accepted = TooEarly(
            "the order is accepted and not written yet: come again",
            code="order_not_ready",
            retry_after_seconds=1.0,
        )
        if self._accepted is None:
            return accepted
        try:
            return accepted if await self._accepted.find(order_id, buyer_id) else None
        except StoreUnavailable as unknown:
            return unknown

    async def _open_attempt(
        self, order_id: uuid.UUID, provider: str, method: str | None, return_url: str | None
    ) -> Payment:
        async with transaction(self._pool) as connection:
            order = await store.lock_order_to_pay(connection, order_id)
            if order is None:
                raise NotFound(code="order_not_found")
            if order.status != "pending_payment":
                raise InvalidState(f"the order is {order.status}")
            if order.past_due:
                raise InvalidState("the time to pay this order is over")
            known = await store.open_payment(connection, order_id, provider)
            if known is not None:
                return known
            attempts_max = self._settings.payment_attempts_max
            fresh = await store.insert_payment(
                connection,
                order,
                provider,
                method=method,
                return_url=return_url,
                attempts_max=attempts_max,
                lease_seconds=self._settings.provider_timeout_seconds,
            )
            if fresh is None:
                raise Conflict(
                    f"this order has had {attempts_max} attempts", code="too_many_attempts"
                )
            return fresh

    # -- the provider

    async def receive_webhook(
        self, provider_name: str, headers: Mapping[str, str], body: bytes
    ) -> ReportOutcome:
        """Verify, keep and apply one webhook; a duplicate changes nothing.

        Raises ``Unauthenticated`` (``signature_invalid``) before anything is stored, ``NotFound``
        for a provider that is not used here. ``UNKNOWN``: kept until its payment appears.
        """
        provider = self._providers.find(provider_name)
        if provider is None:
            raise NotFound(code="provider_not_found")
        event = provider.verify_webhook(headers, body)
        if b"\\u0000" in body:
            raise MalformedRequest("a NUL character cannot be stored")
        async with transaction(self._pool) as connection:
            if not await store.insert_webhook(connection, provider.name, event, body):
                return ReportOutcome.UNCHANGED
            outcome = await self._recorder.record(connection, provider.name, event.report)
            if outcome is not ReportOutcome.UNKNOWN:
                await store.close_webhook(connection, provider.name, event.event_id, outcome)
            return outcome

    # -- operators

    async def details(self, payment_id: uuid.UUID) -> PaymentDetails:
        """One payment with its refunds."""
        async with reading(self._pool) as connection:
            payment = await store.find_payment(connection, payment_id)
            if payment is None:
                raise NotFound(code="payment_not_found")
            return PaymentDetails(payment, await store.refunds_of_payment(connection, payment_id))

    async def page(self, **filters: Any) -> list[Payment]:
        """See ``store.payments_page``."""
        async with reading(self._pool) as connection:
            return await store.payments_page(connection, **filters)

    async def capture(self, payment_id: uuid.UUID) -> Payment:
        """Take the money of an authorised payment. ``InvalidState`` if it is not (any more)."""
        payment = (await self.details(payment_id)).payment
        if payment.status is PaymentStatus.CAPTURED:
            return payment
        if payment.status is not PaymentStatus.AUTHORIZED or payment.reference is None:
            raise InvalidState(f"a payment that is {payment.status} cannot be captured")
        report = await self._provider_of(payment).capture(payment.reference, payment_id)
        if report is None:
            raise InvalidState("the provider has no such payment")
        payment = await self.upkeep.record(payment, report)
        if payment.status is not PaymentStatus.CAPTURED:
            raise InvalidState(f"the payment is {payment.status}")
        return payment

    async def void(self, payment_id: uuid.UUID) -> Payment:
        """Give an open payment up. ``InvalidState`` if it was captured before, or is over."""
        payment = (await self.details(payment_id)).payment
        if payment.status is PaymentStatus.VOIDED:
            return payment
        if not payment.is_open:
            raise InvalidState(f"a payment that is {payment.status} cannot be voided")
        async with transaction(self._pool) as connection:
            await store.request_close(connection, payment.order_id, payment_id)
        payment = await self.upkeep.close_at_provider(payment)
        if payment.status is not PaymentStatus.VOIDED:
            raise InvalidState(f"the payment is {payment.status}")
        return payment

    async def refund(
        self,
        payment_id: uuid.UUID,
        *,
        amount: Money | None,
        reason: str,
        request_key: str,
        requested_by: uuid.UUID | None = None,
    ) -> Refund:
        """Give ``amount`` back (None: all that is left); once a ``request_key``.

        The refund may still be pending when this returns; the worker drives it on.
        """
        payment = (await self.details(payment_id)).payment
        if payment.status is not PaymentStatus.CAPTURED:
            raise InvalidState(f"a payment that is {payment.status} cannot be refunded")
        if amount is not None and amount.currency != payment.amount.currency:
            detail = f"the payment is in {payment.amount.currency}"
            raise InvalidInput(
                detail, fields=(FieldError("/amount/currency", "currency_mismatch", detail),)
            )
        async with transaction(self._pool) as connection:
            refund = await request_refund(
                connection,
                payment,
                amount=None if amount is None else amount.amount,
                reason=reason,
                request_key=request_key,
                requested_by=requested_by,
                lease_seconds=self._settings.provider_timeout_seconds,
            )
        if refund is None:
            raise Conflict("the payment has not so much left", code="refund_exceeds_capture")
        try:
            return await self.upkeep.drive_refund(refund)
        except ProviderUnavailable:
            return refund

    # -- other rooms, through the outbox; provider calls are left to the worker's jobs

    async def on_order_cancelled(self, event: Event) -> None:
        """ORDER_CANCELLED: give up what is still open; the orders judge what was captured."""
        async with transaction(self._pool) as connection:
            await store.request_close(connection, event.key)

    async def on_refund_due(self, event: Event) -> None:
        """ORDER_REFUND_DUE {payment_id?, reason}: one full refund of what is left, a reason once.

        A refused one is tried again by itself, see ``Recorder``.

        Without ``payment_id``, every captured payment of the order is meant.
        """
        reason = str(event.payload.get("reason") or "order_cancelled")[:200]
        named = event.payload.get("payment_id")
        wanted = parse_id(str(named)) if named is not None else None
        async with transaction(self._pool) as connection:
            payments = await store.lock_payments_of_order(connection, event.key)
            for payment in payments.values():
                if payment.status is not PaymentStatus.CAPTURED:
                    continue
                if named is None or payment.payment_id == wanted:
                    await request_refund(
                        connection, payment, reason=reason, request_key=f"due:{reason}"
                    )

    async def measure(self) -> int:
        """Bring the gauges up to date; nothing follows at once, so it returns 0."""
        async with transaction(self._pool) as connection:
            count = await store.count_refunds_to_decide(connection)
        self.metrics.refunds_to_decide.set(count)
        return 0

    def _provider_of(self, payment: Payment) -> PaymentProvider:
        return self._providers[payment.provider]
