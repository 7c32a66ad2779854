"""Times and durations at the edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flashorder.kernel.clock import (
    parse_duration,
    parse_rfc3339,
    rfc3339,
    rfc3339_from_ms,
    utc_now,
)
from flashorder.kernel.errors import InvalidInput

NO_TIMES = [
    *("tomorrow", "2026-01-02T03:04:05", "2026-13-01T00:00:00Z"),
    # Of these, computing alone would overflow.
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *("1999-12-31T23:59:59.999999Z", "3000-01-01T00:00:00Z", "2000-01-01T00:00:00+00:01"),
]


def test_times_are_utc_with_milliseconds() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)
    assert rfc3339(moment) == "2026-01-02T03:04:05.678Z"
    assert rfc3339_from_ms(1_000) == "1970-01-01T00:00:01.000Z"
    assert parse_rfc3339("2026-01-02T04:04:05.678901+01:00") == moment
    assert utc_now().tzinfo is UTC


@pytest.mark.parametrize("text", ["", *NO_TIMES])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172_800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0", "-1h", "1w", "h", "1.5h", "1 h", "36526d", "9" * 5_000])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_duration(text)
