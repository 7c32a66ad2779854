"""What the child rows say of an order, in one word each."""

from __future__ import annotations

import pytest

from flashorder.kernel.events import Topic
from flashorder.orders.model import (
    EVENT_OF,
    STEPS,
    TOPICS,
    OrderStatus,
    fulfillment_status,
    payment_status,
)


@pytest.mark.parametrize(
    ("statuses", "captured", "refunds", "refunded", "said"),
    [
        ([], 0, [], 0, "none"),
        (["pending"], 0, [], 0, "pending"),
        (["failed", "requires_action"], 0, [], 0, "requires_action"),
        (["captured", "voided"], 100, [], 0, "captured"),
        (["voided", "expired"], 0, [], 0, "voided"),
        (["captured"], 100, ["pending"], 0, "refund_pending"),
        (["captured"], 100, ["succeeded"], 40, "partially_refunded"),
        (["captured"], 100, ["succeeded", "failed"], 100, "refunded"),
        (["captured"], 100, ["failed"], 0, "captured"),
    ],
)
def test_payment_status(
    statuses: list[str], captured: int, refunds: list[str], refunded: int, said: str
) -> None:
    assert payment_status(statuses, captured, refunds, refunded) == said


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([], "none"),
        (["pending"], "pending"),
        (["cancelled"], "cancelled"),
        (["cancelled", "picking"], "picking"),
    ],
)
def test_fulfillment_status(statuses: list[str], said: str) -> None:
    assert fulfillment_status(statuses) == said


def test_every_state_has_its_event_and_its_topic() -> None:
    assert set(EVENT_OF) == set(TOPICS) == set(OrderStatus)
    assert len(STEPS) == len(OrderStatus)
    assert all(isinstance(topic, Topic) for topic in TOPICS.values())
