"""The client that keeps a schedule, as a program beside the bench."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bench.context import Context
from bench.load.wrk import Purchases
from bench.processes import PROJECT, ProgramFailed, clean_environment, launched, stop

MARGIN_SECONDS = 60.0
WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What the client counted; see ``bench.load.client``. Times in ms, or Unix seconds."""

    sent: int
    unsent: int
    lost: int
    outcomes: dict[str, int]
    without_retry_after: int
    accepted_p50_ms: float
    accepted_p99_ms: float
    accepted_p100_ms: float
    last_answer_at: float
    start_at: float

    @property
    def accepted(self) -> int:
        """Answers with 202."""
        return self.outcomes.get("202", 0)

    @property
    def untyped(self) -> int:
        """Requests that failed without a code that says why."""
        bare = sum(count for name, count in self.outcomes.items() if name.endswith("untyped"))
        return self.lost + bare


async def send_on_schedule(
    context: Context,
    what: Purchases,
    *,
    count: int,
    connections: int,
    over_seconds: float,
    start_at: float | None = None,
    sample_every: int = 0,
    on_sample: Callable[[str, float], None] = lambda order_id, at: None,
) -> Scheduled:
    """Send ``count`` purchases evenly over a time, on ``connections`` that are open before."""
    plan = {
        "port": what.port,
        "path": what.path,
        "body": what.body,
        "buyers": str(what.buyers),
        "count": count,
        "connections": connections,
        "over_seconds": over_seconds,
        "start_at": start_at,
        "wait_seconds": WAIT_SECONDS,
        "sample_every": sample_every,
    }
    argv = [context.python, "-m", "bench.load.client", json.dumps(plan)]
    process = await asyncio.create_subprocess_exec(
        *launched(argv, context.cores.load),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        cwd=PROJECT,
        env=clean_environment(),
    )
    assert process.stdout is not None, "stdout was asked for as a pipe"
    tally: dict[str, Any] | None = None
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(over_seconds + WAIT_SECONDS + MARGIN_SECONDS):
                async for line in process.stdout:
                    said = json.loads(line)
                    if "tally" in said:
                        tally = said["tally"]
                    else:
                        on_sample(said["order"], said["at"])
    finally:
        await stop(process)
    if tally is None:
        raise ProgramFailed("the client ended without a tally")
    done = Scheduled(**tally)
    if done.accepted == 0:
        raise ProgramFailed(f"nothing was accepted: {tally}")
    return done
