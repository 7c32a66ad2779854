"""A role whose wall clock is wrong: what Python code asks for the time, shifted by so many seconds.

The stores' clocks and the monotonic clock are what they are: those decide.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, tzinfo
from typing import Any


def shift(seconds: float) -> None:
    """From now on, for everything that is imported after this."""
    real_time, real_time_ns = time.time, time.time_ns
    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + int(seconds * 1e9)

    from standardwebhooks import webhooks

    from flashorder.kernel import clock

    real_now = clock.utc_now
    _replace(clock, "utc_now", lambda: real_now() + timedelta(seconds=seconds))

    class Shifted(datetime):
        """The library compares a webhook's time with this."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=seconds)

    _replace(webhooks, "datetime", Shifted)


def _replace(module: Any, name: str, value: Any) -> None:
    assert hasattr(module, name), f"{module.__name__} has no {name} any more"
    setattr(module, name, value)
