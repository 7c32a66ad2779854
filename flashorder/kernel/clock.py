"""Wall-clock times at the edges: RFC 3339 in UTC. Decisions use the stores' clocks, see DESIGN."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flashorder.kernel.errors import FieldError, InvalidInput

FIRST_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
DURATION_MAX = timedelta(days=36525)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def utc_now() -> datetime:
    """The present, timezone-aware."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """``2026-01-02T03:04:05.678Z``: UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_from_ms(unix_ms: int) -> str:
    """RFC 3339 of a Unix time in milliseconds."""
    return rfc3339(datetime.fromtimestamp(unix_ms / 1000, UTC))


def is_sensible(moment: datetime) -> bool:
    """Whether ``moment`` lies in the years 2000 to 2999 of UTC.

    Whatever is computed with such a time (an offset, a window, the encoding of a store) stays
    within what the types can hold.
    """
    return FIRST_MOMENT <= moment <= LAST_MOMENT


def check_sensible(moment: datetime | None, pointer: str) -> None:
    """``InvalidInput`` that points at ``pointer`` unless ``moment`` is absent or sensible."""
    if moment is not None and not is_sensible(moment):
        detail = "not within the years 2000 to 2999"
        raise InvalidInput(detail, fields=(FieldError(pointer, "range", detail),))


def parse_rfc3339(text: str) -> datetime:
    """The moment that ``text`` names; without an offset, or not of 2000 to 2999, it is refused."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not an RFC 3339 time") from None
    if moment.tzinfo is None:
        raise InvalidInput(f"{text!r} has no time zone; append Z for UTC")
    if not is_sensible(moment):
        raise InvalidInput(f"{text!r} is not within the years 2000 to 2999")
    return moment.astimezone(UTC)


def parse_duration(text: str) -> timedelta:
    """``90``, ``90s``, ``15m``, ``1h``, ``2d`` as a duration; a bare number is seconds."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNIT_SECONDS else (text, "s")
    if not number.isdecimal() or len(number) > 12 or not int(number):
        raise InvalidInput(f"{text!r} is not a duration such as 90s, 15m, 1h or 2d")
    seconds = int(number) * _UNIT_SECONDS[unit]
    if seconds > DURATION_MAX.total_seconds():
        raise InvalidInput(f"{text!r} is longer than {DURATION_MAX.days} days")
    return timedelta(seconds=seconds)
