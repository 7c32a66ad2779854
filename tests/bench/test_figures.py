"""Medians, ratios within a turn, claims, and what is written of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from bench.figures import (
    Claim,
    Contender,
    Kind,
    Outcome,
    Round,
    Series,
    in_turn,
    kinds_of,
    ratio_claim,
)
from bench.report import print_outcome, write


def drifting() -> Series:
    """A machine that becomes twice as slow: the ratio stays."""
    ours = [{"worker_us": each} for each in (10.0, 15.0, 20.0)]
    floor = [{"worker_us": each} for each in (20.0, 30.0, 40.0)]
    return Series({"ours": list(ours), "floor": list(floor)})


def test_a_ratio_is_formed_within_each_turn() -> None:
    assert drifting().ratios("worker_us", "ours", "floor") == [0.5, 0.5, 0.5]
    assert drifting().median("ours", "worker_us") == 15.0


def test_a_contender_that_was_left_out_makes_no_claim() -> None:
    assert ratio_claim(drifting(), "worker_us", "ours", "Go") == []
    assert ratio_claim(drifting(), "store_us", "ours", "floor") == []


@pytest.mark.parametrize(
    ("values", "limit", "at_least", "holds"),
    [
        ((0.9, 1.0, 5.0), 1.0, False, True),
        ((0.9, 1.1, 1.2), 1.0, False, False),
        ((2.5, 2.6, 0.1), 2.5, True, True),
        ((2.4,), 2.5, True, False),
        ((2.4,), None, False, None),
    ],
)
def test_a_claim_is_about_the_median(
    values: tuple[float, ...], limit: float | None, at_least: bool, holds: bool | None
) -> None:
    assert Claim("x", values, limit, at_least).holds is holds


async def test_contenders_are_measured_in_turn() -> None:
    order: list[str] = []

    def contender(name: str) -> Contender:
        async def measure() -> Round:
            order.append(name)
            return {"worker_us": float(len(order))}

        return Contender(name, Kind.OURS, measure)

    series = await in_turn([contender("a"), contender("b")], 2, lambda text: None)
    assert order == ["a", "b", "a", "b"]
    assert series.values("b", "worker_us") == [2.0, 4.0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_an_outcome_is_printed_written_and_drawn(tmp_path: Path) -> None:
    series = drifting()
    contenders = [
        Contender("floor", Kind.FLOOR, _nothing),
        Contender("ours", Kind.OURS, _nothing),
    ]
    claims = ratio_claim(series, "worker_us", "ours", "floor", limit=0.4)
    outcome = Outcome(
        "purchase", "a purchase", "worker_us", series, kinds_of(contenders), claims, ["a note"]
    )
    printed_to = io.StringIO()
    print_outcome(outcome, printed_to)
    printed = printed_to.getvalue()
    assert "≤ 0.4" in printed
    assert "NO" in printed
    assert "a note" in printed
    facts, picture = write([outcome], {"rounds": 3}, tmp_path)
    written = json.loads(facts.read_text())
    assert written["contenders"]["ours"]["median"] == {"worker_us": 15.0}
    assert written["claims"][0]["value"] == 0.5
    assert written["claims"][0]["holds"] is False
    assert picture.read_bytes().startswith(b"\x89PNG")


async def _nothing() -> Round:
    return {}
