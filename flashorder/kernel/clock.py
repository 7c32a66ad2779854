"""Wall-clock times at the edges: RFC 3339 in UTC. Decisions use the stores' clocks, see DESIGN."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flashorder.kernel.errors import InvalidInput

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


def parse_rfc3339(text: str) -> datetime:
    """The moment that ``text`` names; a time without an offset is refused."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not an RFC 3339 time") from None
    if moment.tzinfo is None:
        raise InvalidInput(f"{text!r} has no time zone; append Z for UTC")
    return moment.astimezone(UTC)


def parse_duration(text: str) -> timedelta:
    """``90``, ``90s``, ``15m``, ``1h``, ``2d`` as a duration; a bare number is seconds."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNIT_SECONDS else (text, "s")
    if not number.isdecimal() or not int(number):
        raise InvalidInput(f"{text!r} is not a duration such as 90s, 15m, 1h or 2d")
    return timedelta(seconds=int(number) * _UNIT_SECONDS[unit])
