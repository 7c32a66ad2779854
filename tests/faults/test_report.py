"""The figures of a run."""

from __future__ import annotations

from tests.faults.history import Answered, Asked, Call, Happened, History, Outcome
from tests.faults.report import percentile, recovery_seconds


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


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (
        51.0,
        100.0,
        100.0,
    )
    assert percentile([], 0.5) is None
