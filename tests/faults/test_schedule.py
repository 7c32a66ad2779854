"""The plan of faults: the same seed gives the same faults, another seed others."""

from __future__ import annotations

from tests.faults.clients import Buyer
from tests.faults.links import FAIR
from tests.faults.schedule import OF_LINKS, OF_THE_STORE, Kind, plan
from tests.faults.shopping import plan_errands

TARGETS = ("web", "store", "database")
LINKS = ("web>store", "clients>web")


def test_the_same_seed_gives_the_same_plan() -> None:
    first, again = (plan(7, 50, 60.0, TARGETS, LINKS) for _ in range(2))
    assert first == again
    assert first != plan(8, 50, 60.0, TARGETS, LINKS)


def test_a_plan_is_in_order_within_its_time_and_on_what_there_is() -> None:
    faults = plan(1, 500, 60.0, TARGETS, LINKS)
    assert [fault.number for fault in faults] == list(range(1, 501))
    assert faults == sorted(faults, key=lambda fault: fault.at_seconds)
    assert all(0 <= fault.at_seconds <= 60 for fault in faults)
    for fault in faults:
        if fault.kind in OF_LINKS:
            assert fault.target in LINKS
            assert (fault.weather == FAIR) == (fault.kind is Kind.RESET)
        elif fault.kind is Kind.MANNERS:
            assert fault.manners
        elif fault.kind in OF_THE_STORE:
            assert fault.target == "store"
        else:
            assert fault.target in TARGETS
    assert {fault.kind for fault in faults} == set(Kind)


def test_a_freeze_lasts_from_a_tenth_of_a_second_to_half_a_minute() -> None:
    freezes = [f.seconds for f in plan(1, 2000, 60.0, TARGETS, LINKS) if f.kind is Kind.FREEZE]
    assert 0.1 <= min(freezes) < 0.2
    assert 25 < max(freezes) <= 30
    short = [f.seconds for f in plan(1, 500, 60.0, TARGETS, LINKS, longest_seconds=2.0)]
    assert max(short) <= 2.0


def test_the_same_seed_gives_the_same_errands() -> None:
    buyers = [Buyer(str(n), "") for n in range(5)]
    first, again = (plan_errands(3, 100, 10.0, buyers, ("A", "B")) for _ in range(2))
    assert first == again
    assert first != plan_errands(4, 100, 10.0, buyers, ("A", "B"))
    assert len({errand.key for errand in first}) == 100
