"""The shipment machine and the ranks of tracking."""

from __future__ import annotations

import itertools
import random

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.fulfilment.model import (
    PROGRESS,
    SHIPMENT,
    ShipmentStatus,
    TrackingStatus,
    furthest,
)
from flashorder.kernel.errors import InvalidState

LEGAL = set(SHIPMENT.pairs())


@pytest.mark.parametrize(("source", "target"), list(itertools.product(ShipmentStatus, repeat=2)))
def test_each_pair_is_a_step_or_refused(source: ShipmentStatus, target: ShipmentStatus) -> None:
    if (source, target) in LEGAL:
        SHIPMENT.check(source, target)
    else:
        with pytest.raises(InvalidState):
            SHIPMENT.check(source, target)


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


async def test_the_schema_knows_the_same_states(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        definitions = await connection.fetch(
            "SELECT conrelid::regclass::text AS relation, pg_get_constraintdef(oid) AS definition"
            " FROM pg_constraint WHERE contype = 'c' AND pg_get_constraintdef(oid) LIKE '%ARRAY%'"
        )
    finally:
        await connection.close()

    def words(relation: str, column: str) -> set[str]:
        prefix = f"CHECK (({column} = ANY"
        found = [
            row["definition"]
            for row in definitions
            if row["relation"] == relation and row["definition"].startswith(prefix)
        ]
        assert len(found) == 1, found
        return {part.split("'")[1] for part in found[0].split("ARRAY[")[1].split(",")}

    assert words("shipments", "status") == set(ShipmentStatus)
    assert words("shipments", "tracking_status") == set(PROGRESS)
    assert words("carrier_webhooks", "tracking_status") == set(TrackingStatus)
