"""How long a request that comes now will be in hand, and who is therefore refused.

By Little's law: what is in hand, by the rate at which it is decided, is the time that the next one
stays. The rate is measured, so the bound is a time and not a number of requests: a slower machine,
or a store whose disk has become slow, takes in less.

A loop under load reads everything that has come before it answers any of it, so neither beginnings
nor ends alone tell the rate over a short time; half of both does.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

# A share of the last measurement in the smoothed one.
SMOOTHING: Final = 0.3
# So that those who were refused together do not come again together.
SPREAD_SECONDS: Final = 2.0
TOLD_A_TURN_MAX: Final = 256


class Pressure:
    """Counts what is in hand; ``clock`` tells seconds.

    Nobody is refused while fewer than ``always`` are in hand, whatever was measured. What is in
    hand may be expected to be decided in ``wait_seconds_max``, when nothing changes. Only while
    half of ``always`` is in hand is there a measurement: those who come one by one tell how often
    they come, not how many could be decided.
    """

    def __init__(self, *, always: int, wait_seconds_max: float, clock: Callable[[], float]) -> None:
        assert always > 1, "half of it is what there is to measure by"
        self._always = always
        self.half = always // 2
        """Fewer in hand than this are not even measured."""
        self._wait_seconds_max = wait_seconds_max
        self._clock = clock
        self._measuring_since: float | None = None
        # Beginnings and ends in this measurement.
        self._steps = 0
        self.in_hand = 0
        """Requests that were begun and are not answered."""
        self.seconds_each = 0.0
        """What one adds to the time of all behind it, smoothed; 0: not known yet."""

    def begin(self) -> float | None:
        """One more is in hand; or else it is not, and is to come again after so many seconds."""
        in_hand = self.in_hand
        if in_hand >= self.half:
            if self._measuring_since is None:
                self._measuring_since, self._steps = self._clock(), 0
            wait_seconds = in_hand * self.seconds_each
            if wait_seconds > self._wait_seconds_max and in_hand >= self._always:
                return wait_seconds + random.uniform(0.0, SPREAD_SECONDS)
            self._steps += 1
        self.in_hand = in_hand + 1
        return None

    def end(self) -> None:
        """One that was in hand is answered."""
        assert self.in_hand > 0, "each is answered once"
        self.in_hand -= 1
        since = self._measuring_since
        if since is None:
            return
        self._steps += 1
        over = self.in_hand <= self.half
        if self._steps >= (self.half if over else 4 * self._always):
            now = self._clock()
            each = 2 * (now - since) / self._steps
            known = self.seconds_each
            self.seconds_each = known + (each - known) * SMOOTHING if known else each
            self._measuring_since, self._steps = now, 0
        if over:
            self._measuring_since = None


class Refusals:
    """Refusals that are told after ``hold_seconds``: no sooner than others hear of their purchase.

    Parsing and answering costs about what a purchase does, and a client that does not heed
    Retry-After asks again as soon as it is answered. Told at once, refusals would be all that a
    worker still does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, hold_seconds: float) -> None:
        self._loop = loop
        self._hold_seconds = hold_seconds
        self._held: deque[tuple[float, Callable[[], None]]] = deque()

    def hold(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` when it is time; it must not raise."""
        due = self._loop.time() + self._hold_seconds
        self._held.append((due, tell))
        if len(self._held) == 1:
            self._loop.call_at(due, self._tell)

    def _tell(self) -> None:
        now = self._loop.time()
        held = self._held
        told: list[Callable[[], None]] = []
        while held and held[0][0] <= now and len(told) < TOLD_A_TURN_MAX:
            told.append(held.popleft()[1])
        if held:
            self._loop.call_at(held[0][0], self._tell)
        for tell in told:
            try:
                tell()
            except Exception:  # one shopper's answer must not cost the others theirs
                log.exception("refusal_not_told")
