"""The plan of faults: the same seed gives the same faults, another seed others."""

from __future__ import annotations

from tests.faults.clients import Buyer
from tests.faults.links import FAIR
from tests.faults.schedule import DISKS, OF_LINKS, OF_THE_STORE, Kind, drawn, plan
from tests.faults.shopping import plan_errands

TARGETS = ("web", "consumer.0", "consumer.1", "store", "database")
LINKS = ("web>store", "clients>web")


def test_the_same_seed_gives_the_same_plan() -> None:
    first, again = (plan(7, 50, 60.0, TARGETS, LINKS) for _ in range(2))
    assert first == again
    assert first != plan(8, 50, 60.0, TARGETS, LINKS)


def test_a_plan_is_in_order_within_its_time_and_on_what_there_is() -> None:
    faults = plan(1, 500, 60.0, TARGETS, LINKS, small_disks=True)
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
        elif fault.kind is Kind.FULL_DISK:
            assert fault.target in DISKS
            assert fault.seconds > 0
        elif fault.kind is Kind.LATE_WAKING:
            assert fault.target in ("consumer.0", "consumer.1")
        else:
            assert fault.target in TARGETS
    assert {fault.kind for fault in faults} == set(Kind)


def test_a_freeze_lasts_from_a_tenth_of_a_second_to_half_a_minute() -> None:
    freezes = [f.seconds for f in plan(1, 2000, 60.0, TARGETS, LINKS) if f.kind is Kind.FREEZE]
    assert 0.1 <= min(freezes) < 0.2
    assert 25 < max(freezes) <= 30
    short = [f.seconds for f in plan(1, 500, 60.0, TARGETS, LINKS, longest_seconds=2.0)]
    assert max(short) <= 2.0


def test_what_cannot_be_done_is_not_planned() -> None:
    """No disk that could be filled; and nobody to claim what the one consumer sleeps over."""
    alone = tuple(target for target in TARGETS if target != "consumer.1")
    kinds = {fault.kind for fault in plan(1, 500, 60.0, alone, LINKS)}
    assert kinds == set(Kind) - {Kind.FULL_DISK, Kind.LATE_WAKING}


def test_one_shape_in_three_is_drawn_and_always_the_same() -> None:
    drawings = [drawn("clocks", seed) for seed in range(300)]
    assert 70 < sum(drawings) < 130
    assert drawings == [drawn("clocks", seed) for seed in range(300)]
    assert drawings != [drawn("disks", seed) for seed in range(300)]


def test_the_same_seed_gives_the_same_errands() -> None:
    buyers = [Buyer(str(n), "") for n in range(5)]
    first, again = (plan_errands(3, 100, 10.0, buyers, ("A", "B")) for _ in range(2))
    assert first == again
    assert first != plan_errands(4, 100, 10.0, buyers, ("A", "B"))
    assert len({errand.key for errand in first}) == 100
