"""The figures of a run."""

from __future__ import annotations

from tests.faults.history import (
    LOSS,
    REBUILT,
    Answered,
    Asked,
    Call,
    Happened,
    History,
    Outcome,
)
from tests.faults.report import accepted_again_seconds, percentile, recovery_seconds


def _bought(asked_at: float, answered_at: float, outcome: Outcome) -> Call:
    asked = Asked(1, "buy", "buyer", "sale", "key", {}, asked_at, 0.0)
    return Call(asked, Answered(1, outcome, 0, "", {}, answered_at, 0.0))


def test_recovery_is_from_the_first_who_asked_to_the_first_who_was_told() -> None:
    history = History(
        (
            _bought(0.0, 0.1, Outcome.OK),
            _bought(2.0, 5.0, Outcome.UNKNOWN),
            _bought(4.0, 9.0, Outcome.REFUSED),
            _bought(6.0, 6.5, Outcome.OK),
        ),
        (
            Happened("fault 1 kill store", 1.0, 0.0),
            Happened("end of fault 1", 1.5, 0.0),
            Happened("fault 2 kill store", 5.5, 0.0),
            Happened("fault 3 that nobody noticed", 50.0, 0.0),
        ),
    )
    assert list(recovery_seconds(history)) == [4.5, 0.5]


def test_purchases_are_accepted_again_after_the_end_of_a_fault() -> None:
    history = History(
        (
            _bought(0.0, 0.1, Outcome.OK),
            _bought(2.0, 5.0, Outcome.OK),
            _bought(3.5, 3.6, Outcome.REFUSED),
            _bought(6.0, 6.5, Outcome.UNKNOWN),
            _bought(7.0, 7.5, Outcome.OK),
            _bought(30.0, 31.0, Outcome.OK),
        ),
        (
            Happened("fault 1 freeze store 2 s", 1.0, 0.0),
            Happened("fault 2 kill store", 1.5, 0.0),
            Happened("end of fault 2", 1.5, 0.0),
            Happened("end of fault 1", 3.0, 0.0),
            Happened("fault struck web redis somewhere|after", 5.5, 0.0),
            Happened(LOSS, 8.0, 0.0),
            Happened(REBUILT, 29.0, 0.0),
            Happened("fault 3 that nobody noticed", 50.0, 0.0),
        ),
    )
    assert list(accepted_again_seconds(history)) == [4.0, 3.0, 1.5, 1.0]


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (
        51.0,
        100.0,
        100.0,
    )
    assert percentile([], 0.5) is None
