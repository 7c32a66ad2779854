"""The shipment machine and the ranks of tracking."""

from __future__ import annotations

import random
import re

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from flashorder.fulfilment.model import (
    PROGRESS,
    SHIPMENT,
    ShipmentStatus,
    TrackingStatus,
    furthest,
)


def test_what_has_shipped_cannot_be_cancelled() -> None:
    assert SHIPMENT.sources(ShipmentStatus.CANCELLED) == ["pending", "picking", "packed"]
    assert SHIPMENT.terminal() == {ShipmentStatus.DELIVERED, ShipmentStatus.CANCELLED}


@given(st.lists(st.sampled_from(TrackingStatus)), st.randoms())
def test_the_end_does_not_depend_on_the_order_of_the_news(
    news: list[TrackingStatus], rng: random.Random
) -> None:
    def heard(sequence: list[TrackingStatus]) -> list[TrackingStatus | None]:
        present: list[TrackingStatus | None] = [None]
        for told in sequence:
            present.append(furthest(present[-1], told))
        return present

    shuffled = list(news)
    rng.shuffle(shuffled)
    assert heard(news)[-1] == heard(shuffled)[-1]
    ranks = [PROGRESS.index(each) for each in heard(shuffled) if each is not None]
    assert ranks == sorted(ranks)


async def test_the_schema_knows_what_carriers_may_say(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
            " WHERE conname IN ('shipments_tracking_status_check',"
            " 'carrier_webhooks_tracking_status_check')"
        )
    finally:
        await connection.close()
    words = {row["conname"]: set(re.findall(r"'(\w+)'::text", row["definition"])) for row in rows}
    assert words["shipments_tracking_status_check"] == set(PROGRESS)
    assert words["carrier_webhooks_tracking_status_check"] == set(TrackingStatus)
