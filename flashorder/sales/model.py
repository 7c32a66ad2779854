"""The states of a sale, and what an operator says of one. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from flashorder.kernel.clock import is_sensible
from flashorder.kernel.errors import FieldError, InvalidInput
from flashorder.kernel.machine import Machine
from flashorder.kernel.money import AMOUNT_MAX, Money


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

TITLE_CHARACTERS_MAX = 200
ITEMS_MAX = 200
ITEM_UNITS_MAX = 100_000_000
PAYMENT_WINDOW_SECONDS_MAX = 7 * 86400


@dataclass(frozen=True, slots=True)
class DraftItem:
    """What an operator says of one SKU: units to sell, and the most that a buyer may have."""

    sku: str
    quantity: int
    unit_price: Money
    per_buyer_limit: int


@dataclass(frozen=True, slots=True)
class SaleDraft:
    """What an operator says of a sale; ``payment_window_seconds`` None: as configured."""

    title: str
    starts_at: datetime
    ends_at: datetime
    items: tuple[DraftItem, ...]
    payment_window_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class SaleItem:
    """One SKU of a sale as PostgreSQL has it; amounts in minor units of the sale's currency.

    ``allotted`` is the units given to the sale, ``topped_up`` those of them that came by top-ups,
    ``committed`` the units of orders that are not cancelled.
    """

    sku: str
    name: str
    unit_price_amount: int
    list_price_amount: int
    per_buyer_limit: int
    allotted: int
    topped_up: int
    committed: int


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale as PostgreSQL has it; the front has this revision once it is ``synced``."""

    sale_id: uuid.UUID
    title: str
    status: SaleStatus
    currency: str
    starts_at: datetime
    ends_at: datetime
    payment_window_seconds: int
    generation: int
    revision: int
    synced_revision: int
    created_at: datetime
    updated_at: datetime
    items: tuple[SaleItem, ...]
    rebuilding_since: datetime | None = None

    @property
    def rebuilding(self) -> bool:
        """Whether its generation is being filled: nobody else tells the front anything of it."""
        return self.rebuilding_since is not None

    @property
    def synced(self) -> bool:
        """Whether the front works by this revision already."""
        return self.synced_revision == self.revision


@dataclass(frozen=True, slots=True)
class TopUp:
    """Units added to one SKU of a sale; the front counts each id once."""

    top_up_id: uuid.UUID
    sale_id: uuid.UUID
    sku: str
    quantity: int
    generation: int
    applied_at: datetime | None = None


def checked_draft(draft: SaleDraft) -> SaleDraft:
    """``draft`` again, or ``InvalidInput`` with each field that cannot be."""
    wrong: list[FieldError] = []

    def need(holds: bool, pointer: str, code: str, detail: str) -> None:
        if not holds:
            wrong.append(FieldError(pointer, code, detail))

    title = draft.title.strip()
    need(0 < len(title) <= TITLE_CHARACTERS_MAX, "/title", "length", "1 to 200 characters")
    need(title.isprintable(), "/title", "characters", "printable characters only")
    for pointer, moment in (("/starts_at", draft.starts_at), ("/ends_at", draft.ends_at)):
        need(is_sensible(moment), pointer, "range", "within the years 2000 to 2999")
    need(draft.starts_at < draft.ends_at, "/ends_at", "order", "ends after it starts")
    window = draft.payment_window_seconds
    need(
        window is None or 1 <= window <= PAYMENT_WINDOW_SECONDS_MAX,
        "/payment_window_seconds",
        "range",
        f"1 to {PAYMENT_WINDOW_SECONDS_MAX} seconds",
    )
    need(1 <= len(draft.items) <= ITEMS_MAX, "/items", "length", f"1 to {ITEMS_MAX} items")
    seen: set[str] = set()
    for index, item in enumerate(draft.items[:ITEMS_MAX]):
        at = f"/items/{index}"
        need(item.sku not in seen, f"{at}/sku", "duplicate", "this SKU stands here twice")
        need(
            1 <= item.quantity <= ITEM_UNITS_MAX,
            f"{at}/quantity",
            "range",
            f"1 to {ITEM_UNITS_MAX} units",
        )
        need(
            1 <= item.per_buyer_limit <= ITEM_UNITS_MAX,
            f"{at}/per_buyer_limit",
            "range",
            f"1 to {ITEM_UNITS_MAX} units",
        )
        units_max = min(item.quantity, item.per_buyer_limit)
        need(
            1 <= item.unit_price.amount * units_max <= AMOUNT_MAX,
            f"{at}/unit_price",
            "range",
            "at least one minor unit, and what one buyer may have is within the bounds of money",
        )
        need(
            item.unit_price.currency == draft.items[0].unit_price.currency,
            f"{at}/unit_price/currency",
            "currency_mismatch",
            "a sale has one currency",
        )
        seen.add(item.sku)
    if wrong:
        raise InvalidInput("the sale cannot be as it is described", fields=tuple(wrong))
    return replace(draft, title=title)
