"""The states of a sale. Pure."""

from __future__ import annotations

from enum import StrEnum

from flashorder.kernel.machine import Machine


class SaleStatus(StrEnum):
    """draft → scheduled → open ⇄ paused → closed → settled."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    SETTLED = "settled"


SALE = Machine(
    name="sale",
    initial=SaleStatus.DRAFT,
    transitions={
        SaleStatus.DRAFT: frozenset({SaleStatus.SCHEDULED, SaleStatus.OPEN, SaleStatus.CLOSED}),
        SaleStatus.SCHEDULED: frozenset({SaleStatus.OPEN, SaleStatus.CLOSED}),
        SaleStatus.OPEN: frozenset({SaleStatus.PAUSED, SaleStatus.CLOSED}),
        SaleStatus.PAUSED: frozenset({SaleStatus.OPEN, SaleStatus.CLOSED}),
        SaleStatus.CLOSED: frozenset({SaleStatus.SETTLED}),
        SaleStatus.SETTLED: frozenset(),
    },
)

LIVE = frozenset({SaleStatus.SCHEDULED, SaleStatus.OPEN, SaleStatus.PAUSED})
"""States that the front is told of before anybody may buy; a draft is not."""
