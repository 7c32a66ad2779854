"""What an operator says of a sale, and what of it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from flashorder.kernel.clock import utc_now
from flashorder.kernel.errors import InvalidInput
from flashorder.kernel.money import Money
from flashorder.sales.model import DraftItem, checked_draft
from tests.sales.conftest import draft

FAR_EAST, FAR_WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))
POUND = Money(100, "GBP")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"title": " "}, "/title"),
        ({"title": "a\0b"}, "/title"),
        ({"title": "x" * 201}, "/title"),
        ({"ends_at": utc_now() - timedelta(hours=1)}, "/ends_at"),
        ({"starts_at": datetime.min.replace(tzinfo=UTC)}, "/starts_at"),
        ({"starts_at": datetime.min.replace(tzinfo=FAR_EAST)}, "/starts_at"),
        ({"ends_at": datetime.max.replace(tzinfo=FAR_WEST)}, "/ends_at"),
        ({"ends_at": datetime(3000, 1, 1, tzinfo=UTC)}, "/ends_at"),
        ({"payment_window_seconds": -1}, "/payment_window_seconds"),
        ({"items": ()}, "/items"),
        ({"items": (DraftItem("LANTERN", 0, POUND, 1),)}, "/items/0/quantity"),
        ({"items": (DraftItem("LANTERN", 10**9, POUND, 1),)}, "/items/0/quantity"),
        ({"items": (DraftItem("LANTERN", 1, POUND, 0),)}, "/items/0/per_buyer_limit"),
        ({"items": (DraftItem("LANTERN", 1, Money(0, "GBP"), 1),)}, "/items/0/unit_price"),
        ({"items": (DraftItem("LANTERN", 9, Money(10**15, "GBP"), 9),)}, "/items/0/unit_price"),
        ({"items": (DraftItem("LANTERN", 1, POUND, 1),) * 2}, "/items/1/sku"),
        (
            {
                "items": (
                    DraftItem("LANTERN", 1, POUND, 1),
                    DraftItem("BOTTLE", 1, Money(1, "EUR"), 1),
                )
            },
            "/items/1/unit_price/currency",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_field(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        checked_draft(draft(**changes))
    assert pointer in {field.pointer for field in raised.value.fields}


def test_what_can_be_comes_back_tidied() -> None:
    assert checked_draft(draft(title=" Winter sale ")).title == "Winter sale"
