"""How many visitors there are, and when: a spike, a ramp, a plateau."""

from __future__ import annotations

from locust import LoadTestShape

SPAWN_PER_SECOND = 500.0
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


class Wave(LoadTestShape):
    """The shape that the command line names; see ``users_at``."""

    def tick(self) -> tuple[int, float] | None:
        """Users and the rate to come there; None at the end."""
        assert self.runner is not None, "Locust sets the runner before the first tick"
        options = self.runner.environment.parsed_options
        elapsed = self.get_run_time()
        if elapsed >= options.duration:
            return None
        if (
            options.shape == "spike"
            and elapsed > options.opens_in + 5
            and not self.runner.user_count
        ):
            return None  # every shopper has gone home
        return users_at(
            options.shape, elapsed, options.duration, options.visitors
        ), SPAWN_PER_SECOND
