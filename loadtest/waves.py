"""How many visitors there are, and when: a spike, a ramp, a plateau. Pure."""

from __future__ import annotations

RAMP_SHARE = 0.7
PLATEAU_SHARE = 0.1


def users_at(shape: str, elapsed_seconds: float, duration_seconds: float, users: int) -> int:
    """Visitors wanted ``elapsed_seconds`` after the start; at least one.

    A spike has everybody there before the opening; they fire by the server's clock. A ramp grows
    through seven tenths of the time, a plateau through one tenth.
    """
    if shape == "spike":
        return users
    share = RAMP_SHARE if shape == "ramp" else PLATEAU_SHARE
    grown = elapsed_seconds / (duration_seconds * share)
    return max(1, min(users, round(users * grown)))
