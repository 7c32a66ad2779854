"""The states of a payment and of a refund. Pure."""

from __future__ import annotations

from enum import StrEnum

from flashorder.kernel.machine import Machine


class PaymentStatus(StrEnum):
    """pending → requires_action → authorized → captured; failed, voided, expired."""

    PENDING = "pending"
    """We have the row; the provider may or may not know of it yet."""
    REQUIRES_ACTION = "requires_action"
    """The buyer has to approve at the provider."""
    AUTHORIZED = "authorized"
    """Approved: the money is held, not taken."""
    CAPTURED = "captured"
    """The money was taken. What goes back from here is a refund."""
    FAILED = "failed"
    """Declined, by the buyer or by the provider."""
    VOIDED = "voided"
    """Given up before any money was taken."""
    EXPIRED = "expired"
    """The provider waited long enough, or never had it."""


OPEN = frozenset({PaymentStatus.PENDING, PaymentStatus.REQUIRES_ACTION, PaymentStatus.AUTHORIZED})
"""States in which the buyer, or the provider, may still take the payment further."""

ENDED = frozenset({PaymentStatus.FAILED, PaymentStatus.VOIDED, PaymentStatus.EXPIRED})
"""States that ended without money."""

# Reports come late, twice and in any order, and skip steps. So every state may be entered from any
# state of a lower rank (pending, requires_action, authorized, the ended ones, captured) and from no
# other: whatever the order of the reports, the highest rank among them is what stays. Captured
# outranks even the ended ones, because a report that money was taken is never to be dropped.
PAYMENT = Machine(
    name="payment",
    initial=PaymentStatus.PENDING,
    transitions={
        PaymentStatus.PENDING: ENDED
        | {PaymentStatus.REQUIRES_ACTION, PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED},
        PaymentStatus.REQUIRES_ACTION: ENDED | {PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED},
        PaymentStatus.AUTHORIZED: ENDED | {PaymentStatus.CAPTURED},
        PaymentStatus.FAILED: frozenset({PaymentStatus.CAPTURED}),
        PaymentStatus.VOIDED: frozenset({PaymentStatus.CAPTURED}),
        PaymentStatus.EXPIRED: frozenset({PaymentStatus.CAPTURED}),
        PaymentStatus.CAPTURED: frozenset(),
    },
)


class RefundStatus(StrEnum):
    """pending → succeeded, failed."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


REFUND = Machine(
    name="refund",
    initial=RefundStatus.PENDING,
    transitions={
        RefundStatus.PENDING: frozenset({RefundStatus.SUCCEEDED, RefundStatus.FAILED}),
        RefundStatus.SUCCEEDED: frozenset(),
        RefundStatus.FAILED: frozenset(),
    },
)


class ReportOutcome(StrEnum):
    """What a provider's report did to our books."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    """Old news: we know this, or something later, already."""
    MISMATCH = "mismatch"
    """Amount or currency is not what we asked for, and no money came with it: nothing was changed.
    Money that came is booked as it came, and goes back."""
    IGNORED = "ignored"
    """About nothing that concerns a payment or a refund."""
    UNKNOWN = "unknown"
    """About a payment or refund that is not here (yet)."""
