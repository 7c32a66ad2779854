"""Who is refused for what is in hand already: by measured rates, with a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.infra.http.pressure import SPREAD_SECONDS, TOLD_A_TURN_MAX, Pressure, Refusals

ALWAYS = 8
WAIT_SECONDS = 0.5


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def under_pressure(clock: Clock) -> Pressure:
    return Pressure(always=ALWAYS, wait_seconds_max=WAIT_SECONDS, clock=clock)


def decide(pressure: Pressure, clock: Clock, count: int, *, per_second: float) -> None:
    for _ in range(count):
        clock.now += 1 / per_second
        pressure.end()


def taken_in(pressure: Pressure, offered: int) -> int:
    return sum(pressure.begin() is None for _ in range(offered))


def test_as_many_are_taken_in_as_are_decided_in_time() -> None:
    clock = Clock()
    pressure = under_pressure(clock)
    assert taken_in(pressure, 100) == 100, "nothing is known yet, so nobody is refused"
    for _ in range(100):
        decide(pressure, clock, 20, per_second=100.0)
        taken_in(pressure, 1000)
    # At 100 a second there is room for 50.
    assert pressure.seconds_each == pytest.approx(0.01, rel=0.4)
    assert 30 <= pressure.in_hand <= 70


def test_reading_a_crowd_before_answering_any_is_no_standstill() -> None:
    """The first of a crowd waits until all are read; yet nobody of it is refused for that."""
    clock = Clock()
    pressure = under_pressure(clock)
    for _ in range(5):
        for _ in range(100):
            clock.now += 0.002
            assert pressure.begin() is None
        decide(pressure, clock, 100, per_second=500.0)
    assert pressure.seconds_each == pytest.approx(0.004, rel=0.01)


def test_whoever_is_refused_hears_how_long_it_may_take_and_not_all_the_same() -> None:
    clock = Clock()
    pressure = under_pressure(clock)
    for _ in range(5):
        taken_in(pressure, 100 - pressure.in_hand)
        decide(pressure, clock, 8, per_second=10.0)
    in_hand = pressure.in_hand
    expected = in_hand * pressure.seconds_each
    assert expected > WAIT_SECONDS
    waits = [pressure.begin() for _ in range(50)]
    assert all(wait and expected <= wait <= expected + SPREAD_SECONDS for wait in waits)
    assert len(set(waits)) > 1
    assert pressure.in_hand == in_hand, "who is refused is not in hand"


def test_a_slow_hour_is_no_measure_of_a_full_one() -> None:
    """A few in hand for a long time say nothing of how fast many would be decided."""
    clock = Clock()
    pressure = under_pressure(clock)
    for _ in range(50):
        assert taken_in(pressure, ALWAYS // 2) == ALWAYS // 2
        decide(pressure, clock, ALWAYS // 2, per_second=0.1)
    assert pressure.seconds_each == 0.0


@given(
    history=st.lists(
        st.tuples(st.integers(0, 100), st.integers(0, 100), st.floats(0.01, 1e5)), max_size=30
    ),
    per_second=st.floats(100.0, 1e5),
)
def test_it_never_refuses_when_idle_and_always_recovers(
    history: list[tuple[int, int, float]], per_second: float
) -> None:
    clock = Clock()
    pressure = under_pressure(clock)
    for offered, decided, at_rate in history:
        before = pressure.in_hand
        taken = taken_in(pressure, offered)
        assert taken >= min(offered, ALWAYS - before), "no refusal while few are in hand"
        decide(pressure, clock, min(decided, pressure.in_hand), per_second=at_rate)
    # Whatever was: after some time at a speed at which there is room for more, there is.
    for _ in range(100):
        taken_in(pressure, 3 * ALWAYS)
        decide(pressure, clock, pressure.in_hand, per_second=per_second)
    assert taken_in(pressure, 3 * ALWAYS) == 3 * ALWAYS


async def test_refusals_are_told_in_order_some_a_turn_and_never_at_once() -> None:
    loop = asyncio.get_running_loop()
    refusals = Refusals(loop, 0.001)
    count = 2 * TOLD_A_TURN_MAX + 1
    told: list[int] = []
    turns: list[int] = []
    finished = asyncio.Event()

    def tell(number: int) -> None:
        told.append(number)
        if len(told) == count:
            finished.set()

    for number in range(count):
        refusals.hold(lambda number=number: tell(number))
    assert told == []
    async with asyncio.timeout(5):
        while not finished.is_set():
            before = len(told)
            await asyncio.sleep(0)
            turns.append(len(told) - before)
        assert told == list(range(count))
        assert max(turns) <= TOLD_A_TURN_MAX
        finished.clear()
        refusals.hold(lambda: refusals.hold(finished.set))  # one who asks again
        await finished.wait()
