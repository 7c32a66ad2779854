"""The statements of this room. Each method runs on the caller's connection and transaction."""

from __future__ import annotations

import uuid

import msgspec

from flashorder.infra.postgres.pool import Connection
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.payments.model import PAYMENT, REFUND, ReportOutcome
from flashorder.payments.providers.port import (
    PaymentReport,
    ProviderEvent,
    RefundReport,
)
from flashorder.payments.records import PayableOrder, Payment, Refund

_SQL = load_sql("flashorder.payments")


async def order_buyer(connection: Connection, order_id: uuid.UUID) -> uuid.UUID | None:
    """Whose order it is; None: not in PostgreSQL (yet)."""
    buyer: uuid.UUID | None = await connection.fetchval(_SQL["order_buyer"], order_id)
    return buyer


async def lock_order_to_pay(connection: Connection, order_id: uuid.UUID) -> PayableOrder | None:
    """The order, locked until the end of the transaction."""
    row = await connection.fetchrow(_SQL["order_to_pay"], order_id)
    if row is None:
        return None
    return PayableOrder(
        order_id=row["order_id"],
        buyer_id=row["buyer_id"],
        status=row["status"],
        total=Money(row["total_amount"], row["currency"]),
        past_due=row["past_due"],
    )


async def open_payment(
    connection: Connection, order_id: uuid.UUID, provider: str
) -> Payment | None:
    """The attempt that is still open at ``provider``."""
    return _payment(await connection.fetchrow(_SQL["open_payment"], order_id, provider))


async def insert_payment(
    connection: Connection,
    order: PayableOrder,
    provider: str,
    *,
    method: str | None,
    return_url: str | None,
    attempts_max: int,
    lease_seconds: float,
) -> Payment | None:
    """A new attempt; None if there have been ``attempts_max`` already."""
    row = await connection.fetchrow(
        _SQL["insert_payment"],
        new_id(),
        order.order_id,
        order.buyer_id,
        provider,
        order.total.amount,
        order.total.currency,
        method,
        return_url,
        attempts_max,
        lease_seconds,
    )
    return _payment(row)


async def find_payment(connection: Connection, payment_id: uuid.UUID) -> Payment | None:
    """One payment."""
    return _payment(await connection.fetchrow(_SQL["payment"], payment_id))


async def payments_of_order(connection: Connection, order_id: uuid.UUID) -> list[Payment]:
    """The attempts of one order, in order."""
    rows = await connection.fetch(_SQL["payments_of_order"], order_id)
    return [Payment.from_row(row) for row in rows]


async def payments_page(
    connection: Connection,
    *,
    order_id: uuid.UUID | None,
    status: str | None,
    provider: str | None,
    refund_to_decide: bool,
    before: uuid.UUID | None,
    limit: int,
) -> list[Payment]:
    """At most ``limit`` payments older than ``before``, newest first."""
    rows = await connection.fetch(
        _SQL["payments_page"], order_id, status, provider, before, limit, refund_to_decide
    )
    return [Payment.from_row(row) for row in rows]


async def payment_named_by(
    connection: Connection, provider: str, report: PaymentReport
) -> Payment | None:
    """The payment that a report is about."""
    row = await connection.fetchrow(
        _SQL["payment_named_by"], provider, report.reference, report.payment_id
    )
    return _payment(row)


async def lock_payments_of_order(
    connection: Connection, order_id: uuid.UUID
) -> dict[uuid.UUID, Payment]:
    """All attempts of an order by id, locked until the end of the transaction."""
    rows = await connection.fetch(_SQL["lock_payments_of_order"], order_id)
    return {row["payment_id"]: Payment.from_row(row) for row in rows}


async def move_payment(
    connection: Connection, payment_id: uuid.UUID, report: PaymentReport, silence_seconds: float
) -> Payment | None:
    """One step of the machine; None if the present state forbids it."""
    row = await connection.fetchrow(
        _SQL["move_payment"],
        payment_id,
        report.status,
        PAYMENT.sources(report.status),
        report.reference,
        _action(report),
        report.failure_code,
        silence_seconds,
        report.amount.amount,
        report.amount.currency,
    )
    return _payment(row)


async def note_heard(connection: Connection, payment_id: uuid.UUID, report: PaymentReport) -> None:
    """The provider spoke and said nothing new."""
    await connection.execute(_SQL["note_heard"], payment_id, report.reference, _action(report))


async def note_missed(connection: Connection, payment_id: uuid.UUID) -> int:
    """The provider has no such payment: how often in a row it has said so."""
    return int(await connection.fetchval(_SQL["note_missed"], payment_id))


async def request_close(
    connection: Connection, order_id: uuid.UUID, payment_id: uuid.UUID | None = None
) -> None:
    """Mark the open payments of an order (or one of them) to be voided at the provider."""
    await lock_payments_of_order(connection, order_id)
    await connection.execute(_SQL["request_close"], order_id, payment_id)


async def claim_payments_to_ask(
    connection: Connection, provider: str, silence_seconds: float, batch_max: int
) -> list[tuple[Payment, bool]]:
    """Silent payments, each with whether the order does not want it any more."""
    rows = await connection.fetch(
        _SQL["claim_payments_to_ask"], provider, silence_seconds, batch_max
    )
    return [(Payment.from_row(row), row["unwanted"]) for row in rows]


async def find_refund(connection: Connection, refund_id: uuid.UUID) -> Refund | None:
    """One refund."""
    return _refund(await connection.fetchrow(_SQL["refund"], refund_id))


async def refund_by_key(
    connection: Connection, payment_id: uuid.UUID, request_key: str
) -> Refund | None:
    """The refund that a request has led to before."""
    return _refund(await connection.fetchrow(_SQL["refund_by_key"], payment_id, request_key))


async def refunds_of_payment(connection: Connection, payment_id: uuid.UUID) -> list[Refund]:
    """The refunds of one payment, oldest first."""
    rows = await connection.fetch(_SQL["refunds_of_payment"], payment_id)
    return [Refund.from_row(row) for row in rows]


async def insert_refund(
    connection: Connection,
    payment_id: uuid.UUID,
    amount: int,
    *,
    reason: str,
    request_key: str,
    requested_by: uuid.UUID | None,
    lease_seconds: float,
    attempt: int = 1,
) -> Refund | None:
    """A pending refund, counted on its payment; None if the payment has not that much left."""
    row = await connection.fetchrow(
        _SQL["insert_refund"],
        new_id(),
        payment_id,
        amount,
        reason,
        request_key,
        requested_by,
        lease_seconds,
        attempt,
    )
    if row is not None:
        counted = await connection.fetchrow(_SQL["add_refunded"], payment_id, amount)
        assert counted is not None, "the payment is locked, so what was checked still holds"
    return _refund(row)


async def move_refund(
    connection: Connection, refund_id: uuid.UUID, report: RefundReport
) -> Refund | None:
    """One step of the machine; None if it has ended before."""
    row = await connection.fetchrow(
        _SQL["move_refund"],
        refund_id,
        report.status,
        REFUND.sources(report.status),
        report.reference,
        report.failure_code,
    )
    return _refund(row)


async def count_refunds_to_decide(connection: Connection) -> int:
    """How many refunds need a person."""
    return int(await connection.fetchval(_SQL["count_refunds_to_decide"]))


async def uncount_refund(connection: Connection, refund: Refund) -> None:
    """A refund has failed: the money is still here."""
    await connection.fetchrow(_SQL["add_refunded"], refund.payment_id, -refund.amount.amount)


async def note_refund_heard(
    connection: Connection, refund_id: uuid.UUID, reference: str | None
) -> None:
    """The provider has the refund and has not finished it."""
    await connection.execute(_SQL["note_refund_heard"], refund_id, reference)


async def claim_refunds_to_drive(
    connection: Connection, provider: str, pause_seconds: float, batch_max: int
) -> list[Refund]:
    """Refunds that ``provider`` has not confirmed."""
    rows = await connection.fetch(
        _SQL["claim_refunds_to_drive"], provider, pause_seconds, batch_max
    )
    return [Refund.from_row(row) for row in rows]


async def insert_webhook(
    connection: Connection, provider: str, event: ProviderEvent, payload: bytes
) -> bool:
    """Keep a verified webhook; False: it was here before."""
    report = event.report
    reference, payment_id, refund_id = None, None, None
    if isinstance(report, PaymentReport):
        reference, payment_id = report.reference, report.payment_id
    elif isinstance(report, RefundReport):
        reference, refund_id = report.payment_reference, report.refund_id
    kept = await connection.fetchval(
        _SQL["insert_webhook"],
        provider,
        event.event_id,
        payload,
        msgspec.to_builtins(event),
        reference,
        payment_id,
        refund_id,
    )
    return kept is not None


async def close_webhook(
    connection: Connection, provider: str, event_id: str, outcome: ReportOutcome
) -> None:
    """A kept webhook needs no further work."""
    await connection.execute(_SQL["close_webhook"], provider, event_id, outcome)


async def claim_kept_webhook(connection: Connection) -> tuple[str, str, object] | None:
    """The first webhook (provider, event id, event) whose subject has appeared, locked."""
    row = await connection.fetchrow(_SQL["claim_kept_webhook"])
    return None if row is None else (row["provider"], row["event_id"], row["event"])


async def push_webhook_back(connection: Connection, provider: str, event_id: str) -> None:
    """A kept webhook could not be applied: the others come first, and it again later."""
    await connection.execute(_SQL["push_webhook_back"], provider, event_id)


async def purge_webhooks(connection: Connection, retention_seconds: float, batch_max: int) -> int:
    """Remove old webhooks; returns how many."""
    tag = await connection.execute(_SQL["purge_webhooks"], retention_seconds, batch_max)
    return int(tag.split()[-1])


def _payment(row: object) -> Payment | None:
    return None if row is None else Payment.from_row(row)


def _refund(row: object) -> Refund | None:
    return None if row is None else Refund.from_row(row)


def _action(report: PaymentReport) -> object:
    return None if report.action is None else msgspec.to_builtins(report.action)
