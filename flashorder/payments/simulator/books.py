"""What the simulator knows: payments, refunds and the webhooks that it still has to deliver.

State changes happen in memory at once (one thread, so each is atomic) and are appended to the
journal; the caller answers only after ``durable``. A change never waits, so a call that is repeated
while the first is still being written sees what the first has done.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from flashorder.kernel.clock import rfc3339, utc_now
from flashorder.kernel.errors import Misconfigured
from flashorder.payments.simulator.journal import Journal

ENTRIES_MAX = 1_000_000
Status = Literal["requires_action", "authorized", "captured", "declined", "voided"]


class Refused(Exception):
    """The simulator will not do it: HTTP status, code and a sentence."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status, self.code, self.detail = status, code, detail
        super().__init__(detail)


class PaymentEntry(msgspec.Struct, tag="payment"):
    """A payment; amounts in minor units, times in UTC."""

    id: str
    key: str
    fingerprint: str
    merchant_reference: str
    amount: int
    currency: str
    capture_method: str
    created_at: datetime
    method: str | None = None
    return_url: str | None = None
    status: Status = "requires_action"
    decision: str | None = None
    failure_code: str | None = None
    refunded_amount: int = 0
    authorized_at: datetime | None = None
    captured_at: datetime | None = None
    declined_at: datetime | None = None
    voided_at: datetime | None = None


class RefundEntry(msgspec.Struct, tag="refund"):
    """A refund; it succeeds, or is refused, at once."""

    id: str
    key: str
    fingerprint: str
    payment: str
    merchant_reference: str
    amount: int
    currency: str
    created_at: datetime
    reason: str | None = None
    status: Literal["succeeded", "failed"] = "succeeded"
    failure_code: str | None = None


class EventEntry(msgspec.Struct, tag="event"):
    """A webhook to be delivered; ``payment`` is the lane that it travels in, ``body`` its JSON."""

    id: str
    payment: str
    body: str


class ClosedEventEntry(msgspec.Struct, tag="closed_event"):
    """The webhook ``id`` was delivered, or is never to be."""

    id: str


Entry = PaymentEntry | RefundEntry | EventEntry | ClosedEventEntry
Keyed = TypeVar("Keyed", PaymentEntry, RefundEntry)
_DECODER = msgspec.json.Decoder(Entry)


class Books:
    """All entries by id and by idempotency key."""

    def __init__(self, journal: Journal, public_url: str) -> None:
        self._journal = journal
        self._public_url = public_url
        self.payments: dict[str, PaymentEntry] = {}
        self.refunds: dict[str, RefundEntry] = {}
        self.waiting_events: dict[str, EventEntry] = {}
        self._payment_by_key: dict[str, PaymentEntry] = {}
        self._refund_by_key: dict[str, RefundEntry] = {}

    def load(self) -> None:
        """Read the journal; the last line about an entry is what holds.

        Raises ``Misconfigured`` if the file is in use, or is no journal of this simulator.
        """
        for number, line in enumerate(self._journal.open(), 1):
            try:
                self._remember(_DECODER.decode(line))
            except msgspec.DecodeError as error:
                raise Misconfigured(
                    f"line {number} of {self._journal.path} cannot be read ({error}): move the "
                    "file away to begin with empty books"
                ) from None

    async def durable(self) -> None:
        """Wait until every change so far is on disk."""
        await self._journal.durable()

    def payment(self, payment_id: str) -> PaymentEntry:
        """The payment, or 404."""
        entry = self.payments.get(payment_id)
        if entry is None:
            raise Refused(404, "payment_not_found", "there is no such payment")
        return entry

    def create(self, entry: PaymentEntry) -> PaymentEntry:
        """Add a payment; the same key and fingerprint give the one that is there."""
        known = self._payment_by_key.get(entry.key)
        if known is not None:
            return _same(known, entry.fingerprint)
        if len(self.payments) >= ENTRIES_MAX:
            raise Refused(503, "books_full", "this simulator has no room for more payments")
        self._put(entry)
        return entry

    def decide(self, entry: PaymentEntry, decision: str, *, approved: bool) -> list[EventEntry]:
        """The buyer's ``decision``; ``approved`` False: declined by the buyer or by the bank."""
        if entry.decision == decision:
            return []
        if entry.status != "requires_action":
            raise Refused(409, "already_decided", f"the payment is {entry.status}")
        now = utc_now()
        entry.decision = decision
        if not approved:
            entry.status, entry.declined_at = "declined", now
            entry.failure_code = "buyer_declined" if decision == "decline" else "card_declined"
            return [self._put_payment(entry, "payment.declined")]
        entry.status, entry.authorized_at = "authorized", now
        events = [self._put_payment(entry, "payment.authorized")]
        if entry.capture_method == "automatic":
            events += self.capture(entry)
        return events

    def capture(self, entry: PaymentEntry) -> list[EventEntry]:
        """Take the money of an authorised payment; again is no change."""
        if entry.status == "captured":
            return []
        if entry.status != "authorized":
            raise Refused(409, "not_authorized", f"the payment is {entry.status}")
        entry.status, entry.captured_at = "captured", utc_now()
        return [self._put_payment(entry, "payment.captured")]

    def void(self, entry: PaymentEntry) -> list[EventEntry]:
        """Give up a payment that was not captured; one that is over already stays as it is."""
        if entry.status == "captured":
            raise Refused(409, "already_captured", "the money was taken: refund it")
        if entry.status in ("voided", "declined"):
            return []
        entry.status, entry.voided_at = "voided", utc_now()
        return [self._put_payment(entry, "payment.voided")]

    def refund(self, entry: RefundEntry) -> tuple[RefundEntry, list[EventEntry]]:
        """Give money back; the same key and fingerprint give the refund that is there."""
        known = self._refund_by_key.get(entry.key)
        if known is not None:
            return _same(known, entry.fingerprint), []
        payment = self.payment(entry.payment)
        if payment.status != "captured":
            raise Refused(409, "not_captured", f"the payment is {payment.status}")
        if entry.currency != payment.currency:
            raise Refused(422, "currency_mismatch", f"the payment is in {payment.currency}")
        if payment.refunded_amount + entry.amount > payment.amount:
            raise Refused(409, "refund_exceeds_capture", "more than what is left of the payment")
        if entry.status == "succeeded":
            payment.refunded_amount += entry.amount
            self._put(payment)
        self._put(entry)
        return entry, [self._put_event(f"refund.{entry.status}", entry.payment, self.shown(entry))]

    def close_event(self, event: EventEntry) -> None:
        """The webhook was delivered, or is never to be."""
        self._put(ClosedEventEntry(event.id))

    def shown(self, entry: PaymentEntry | RefundEntry) -> dict[str, Any]:
        """The entry as the API shows it."""
        body: dict[str, Any] = msgspec.to_builtins(entry)
        for hidden in ("type", "key", "fingerprint", "decision"):
            body.pop(hidden, None)
        if isinstance(entry, PaymentEntry):
            waits = entry.status == "requires_action"
            url = f"{self._public_url}/pay/{entry.id}"
            body["action"] = {"type": "redirect", "url": url} if waits else None
        return body

    def ledger(self) -> dict[str, Any]:
        """Every movement, and totals by currency: what a reconciliation compares with."""
        columns: dict[str, list[dict[str, Any]]] = {
            "authorisations": list(self._moments("authorized_at")),
            "captures": list(self._moments("captured_at")),
            "declines": list(self._moments("declined_at")),
            "voids": list(self._moments("voided_at")),
            "refunds": [
                _movement(each, each.created_at)
                for each in self.refunds.values()
                if each.status == "succeeded"
            ],
        }
        totals: dict[str, dict[str, dict[str, int]]] = {}
        for column, movements in columns.items():
            for movement in movements:
                by_column = totals.setdefault(
                    movement["currency"], {each: {"count": 0, "amount": 0} for each in columns}
                )
                by_column[column]["count"] += 1
                by_column[column]["amount"] += movement["amount"]
        return {**columns, "totals": totals}

    def _moments(self, field: str) -> Iterator[dict[str, Any]]:
        for entry in self.payments.values():
            moment = getattr(entry, field)
            if moment is not None:
                yield _movement(entry, moment)

    def _put_payment(self, entry: PaymentEntry, kind: str) -> EventEntry:
        self._put(entry)
        return self._put_event(kind, entry.id, self.shown(entry))

    def _put_event(self, kind: str, payment: str, data: dict[str, Any]) -> EventEntry:
        body = {"type": kind, "timestamp": rfc3339(utc_now()), "data": data}
        event = EventEntry(fresh_id("evt"), payment, msgspec.json.encode(body).decode())
        self._put(event)
        return event

    def _put(self, entry: Entry) -> None:
        self._remember(entry)
        self._journal.append(entry)

    def _remember(self, entry: Entry) -> None:
        if isinstance(entry, PaymentEntry):
            self.payments[entry.id] = self._payment_by_key[entry.key] = entry
        elif isinstance(entry, RefundEntry):
            self.refunds[entry.id] = self._refund_by_key[entry.key] = entry
        elif isinstance(entry, EventEntry):
            self.waiting_events[entry.id] = entry
        else:
            self.waiting_events.pop(entry.id, None)


def fresh_id(prefix: str) -> str:
    """An identifier that nobody can guess."""
    return f"{prefix}_{secrets.token_hex(12)}"


def _same(known: Keyed, fingerprint: str) -> Keyed:
    if known.fingerprint != fingerprint:
        raise Refused(422, "idempotency_key_reused", "this key came with another body before")
    return known


def _movement(entry: PaymentEntry | RefundEntry, moment: datetime) -> dict[str, Any]:
    return {
        "id": entry.id,
        "payment": entry.id if isinstance(entry, PaymentEntry) else entry.payment,
        "merchant_reference": entry.merchant_reference,
        "amount": entry.amount,
        "currency": entry.currency,
        "at": rfc3339(moment),
    }
