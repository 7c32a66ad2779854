"""Products, movements of stock, and what each kind of movement does to the levels. Pure."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flashorder.kernel.money import Money

SKU_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What migration 0002 accepts as an SKU: it stands in URLs, CSV files and command lines."""

NAME_CHARACTERS_MAX = 200
WEIGHT_GRAMS_MAX = 10_000_000
MOVEMENT_UNITS_MAX = 100_000_000
"""Units of one movement; keeps sums of millions of movements far below 2**63."""

_SKU = re.compile(SKU_PATTERN.removesuffix("$"))


def is_sku(text: str) -> bool:
    """Whether ``text`` can name a product."""
    return _SKU.fullmatch(text) is not None


class StockPolicy(StrEnum):
    """What an ordinary order meets when nothing is left."""

    REFUSE = "refuse"
    WAIT = "wait"
    BACK_ORDER = "back_order"


class MovementKind(StrEnum):
    """Why units moved; the comment says which level follows, and in which direction."""

    RECEIVED = "received"  # on hand and available, up
    ALLOCATED = "allocated"  # available, down: given to a sale
    RESERVED = "reserved"  # available, down: given to an order
    RELEASED = "released"  # available, up: back from a sale or an order
    SHIPPED = "shipped"  # on hand, down: an allocated or reserved unit leaves the house
    RETURNED = "returned"  # on hand and available, up
    ADJUSTED = "adjusted"  # on hand and available, either way: a count said otherwise


class Cause(StrEnum):
    """The causes that rooms of flashorder write; operators' own words stand beside them."""

    CATALOGUE_ESTIMATE = "catalogue_estimate"
    """Opening stock guessed from a file of order lines, which has no figure for it."""
    SALE_PROMISE = "sale_promise"
    """Units that a sale promised of a product that nobody has counted yet."""
    SALE_CREATED = "sale_created"
    SALE_TOP_UP = "sale_top_up"
    SALE_SETTLED = "sale_settled"
    PARCEL_LEFT = "parcel_left"
    DELIVERY = "delivery"


NO_COUNTS = (Cause.CATALOGUE_ESTIMATE, Cause.SALE_PROMISE)
"""Receipts that nobody counted: a product that has no other is *uncounted*."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A line of the ledger. ``quantity`` is signed units, ``reference`` a sale, parcel or note."""

    movement_id: uuid.UUID
    sku: str
    kind: MovementKind
    quantity: int
    cause: str
    actor: str
    reference: str | None = None
    occurred_at: datetime | None = None
    entry_no: int = 0


@dataclass(frozen=True, slots=True)
class Product:
    """What can be sold. ``version`` grows with each change; it is the ETag."""

    sku: str
    name: str
    unit_price: Money
    stock_policy: StockPolicy = StockPolicy.REFUSE
    weight_grams: int | None = None
    version: int = 1
    active: bool = True
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """Stock of one SKU, units: ``available`` is what no sale and no order has been given.

    ``counted`` is false while all of it is an estimate, or a promise of a sale.
    """

    sku: str
    name: str
    on_hand: int
    available: int
    counted: bool


def movement_id_of(source: uuid.UUID, kind: MovementKind, sku: str, token: str = "") -> uuid.UUID:
    """The id of the movement that ``source`` causes; the same again for a retry."""
    return uuid.uuid5(source, f"{kind}:{sku}:{token}")
