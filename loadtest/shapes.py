"""The shapes of load, as Locust asks for them."""

from __future__ import annotations

from locust import LoadTestShape

from loadtest.waves import users_at

SPAWN_PER_SECOND = 500.0


class Wave(LoadTestShape):
    """The shape that the command line names; see ``loadtest.waves``."""

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
