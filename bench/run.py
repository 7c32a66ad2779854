"""Run scenarios one after the other; each is a module of ``bench.scenarios``."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from bench import report
from bench.context import Context
from bench.cores import available_cores, divide, stay_on
from bench.figures import Outcome
from bench.load.wrk import require_wrk
from flashorder.kernel.errors import Misconfigured
from loadtest.figures import machine

SCENARIOS: dict[str, str] = {
    "purchase": "an accepted purchase beside floor and peers",
    "refusal": "a sold-out refusal beside the floor",
    "first-request": "a buyer never seen beside a remembered one",
    "store": "the store at saturation: µs and bytes an order",
    "drain": "stream into PostgreSQL beside the raw insert",
    "latency": "p99 at half of capacity; 202 to the row",
    "growth": "the cost with many orders behind",
    "opening": "5,000 connections at the opening of 1,000 units",
    "overload": "three times more offered than capacity",
    "crowd": "buyers beside 10,000 idle connections",
    "workers": "two workers against one",
    "restarts": "purchases while workers are replaced",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    names: Sequence[str]
    rounds: int = 5
    seconds: float = 5.0
    connections: int = 128
    orders_behind: int = 1_000_000
    overload_seconds: float = 60.0
    report: Path = Path("reports/bench")


async def run(options: Options, say: Callable[[str], None], tables: TextIO) -> list[Outcome]:
    """Measure, print to ``tables``, write; ``Misconfigured`` for a wrong name, or without wrk."""
    names = list(options.names) or list(SCENARIOS)
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise Misconfigured(f"no scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    require_wrk()
    mine = available_cores()
    outcomes = []
    for name in names:
        cores = divide(mine, 2 if name in ("workers", "restarts") else 1)
        # What is started from here on, the stores above all, stays with the load.
        stay_on(cores.load)
        with tempfile.TemporaryDirectory(prefix="flashorder-bench-") as folder:
            context = Context(
                rounds=options.rounds,
                seconds=options.seconds,
                connections=options.connections,
                orders_behind=options.orders_behind,
                overload_seconds=options.overload_seconds,
                cores=cores,
                folder=Path(folder),
                say=say,
            )
            say(f"{name}: {SCENARIOS[name]} ({cores.words()})")
            module = importlib.import_module(f"bench.scenarios.{name.replace('-', '_')}")
            try:
                outcome: Outcome = await module.measure(context)
            finally:
                stay_on(mine)
        outcomes.append(outcome)
        report.print_outcome(outcome, tables)
        written = report.write([outcome], _conditions(options, cores.words()), options.report)
        say(f"written: {', '.join(map(str, written))}")
    return outcomes


def _conditions(options: Options, cores: str) -> dict[str, Any]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
        "cores": cores,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "connections": options.connections,
    }
