"""What Locust runs; ``flashorder loadtest`` calls it. By hand:

PYTHONPATH=. locust -f loadtest/locustfile.py --host URL --sale ID --tokens FILE
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gevent
from locust import events

from loadtest.journeys import STAGE, Bot, Impatient, Shopper
from loadtest.shapes import Wave

__all__ = ["Bot", "Impatient", "Shopper", "Wave"]
SAMPLE_SECONDS = 0.5


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """The options of our own."""
    parser.add_argument("--sale", default="", help="id of the sale")
    parser.add_argument("--tokens", default="", help="file with a bearer token a line")
    parser.add_argument("--shape", choices=["spike", "ramp", "plateau"], default="spike")
    parser.add_argument("--visitors", type=int, default=100)
    parser.add_argument("--duration", type=float, default=60.0, help="seconds")
    parser.add_argument("--opens-in", type=float, default=0.0, help="seconds until the opening")
    parser.add_argument("--samples", default="", help="file for a line of JSON a sample")


@events.test_start.add_listener
def set_the_stage(environment: Any, **_: Any) -> None:
    """Read what all users share, and begin to take samples."""
    options = environment.parsed_options
    STAGE.sale_id = options.sale
    STAGE.once = options.shape == "spike"
    STAGE.tokens.extend(Path(options.tokens).read_text(encoding="ascii").split())
    if options.samples:
        gevent.spawn(take_samples, environment, Path(options.samples))


def take_samples(environment: Any, path: Path) -> None:
    """Rate, latency, users, outcomes and stock, until the run ends."""
    before, before_at = 0, time.time()
    with path.open("w", encoding="utf-8") as file:
        while environment.runner is not None and environment.runner.state != "stopped":
            total = environment.stats.total
            at = time.time()
            sample = {
                "at": at,
                "users": environment.runner.user_count,
                "requests": total.num_requests,
                "failures": total.num_failures,
                "per_second": round((total.num_requests - before) / max(at - before_at, 0.001), 1),
                "p50_ms": total.get_current_response_time_percentile(0.50),
                "p95_ms": total.get_current_response_time_percentile(0.95),
                "outcomes": dict(STAGE.outcomes),
                "remaining": remaining(environment.host),
            }
            before, before_at = total.num_requests, at
            file.write(json.dumps(sample) + "\n")
            file.flush()
            gevent.sleep(SAMPLE_SECONDS)


def remaining(host: str) -> int | None:
    """Units of the sale that are left, asked beside the load and not counted in it."""
    import requests  # noqa: PLC0415 - Locust brings it

    try:
        answer = requests.get(f"{host}/v1/sales/{STAGE.sale_id}", timeout=2)
        return sum(item["remaining"] for item in answer.json()["items"])
    except (requests.RequestException, ValueError, KeyError):
        return None
