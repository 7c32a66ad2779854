"""The first sale in small, through the real ``flashorder up``, with a consumer that dies."""

from __future__ import annotations

import pytest

from loadtest.first_sale import Scenario, run


@pytest.mark.timeout(120)
async def test_a_sale_ends_right_although_its_consumer_is_killed() -> None:
    figures = await run(
        Scenario(
            units=50,
            shoppers=120,
            payment_window_seconds=4,
            open_after_seconds=1.5,
            patience_seconds=5.0,
            lasts_seconds=60.0,
            poll_seconds=0.5,
            kill="consumer",
        )
    )
    assert figures["problems"] == []
    assert figures["units"]["with_buyers"] + figures["units"]["in_stock"] == 50
    assert figures["orders"]["accepted"] == figures["orders"]["in_postgresql"] >= 25
    assert figures["orders"]["completed"] > 0
    assert figures["orders"]["cancelled"] > 0
    assert figures["killed"]["role"] == "consumer"
