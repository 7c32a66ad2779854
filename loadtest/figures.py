"""Numbers of a run, as JSON and as a page for people."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency_ms(seconds: Iterable[float]) -> dict[str, float]:
    """Percentiles in milliseconds."""
    values = list(seconds)
    shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(percentile(values, share) * 1000, 1) for name, share in shares.items()}


def machine() -> dict[str, Any]:
    """Where it was measured."""
    import os  # noqa: PLC0415

    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        model = platform.processor()
    return {
        "processors": os.cpu_count(),
        "model": model,
        "python": platform.python_version(),
        "system": platform.system(),
    }


_INTRODUCTION = """\
# The first sale

Five real products, {units} units, {shoppers} shoppers. All fire at the opening, then three quarters
pay, some are declined first or for good, some never pay, some click twice, some come back for what
others did not pay; the carrier delivers. In the end everything is counted in Redis, in PostgreSQL
and in the payment provider's books, and held against what the shoppers were told.

Measured {measured_at} on {processors} processors ({model}), which the service, both stores, both
simulators and the shoppers share: the latencies are those of a machine that is busy with its own
load test. Again, on your machine: `python -m loadtest.first_sale --all --report docs`.
"""


def as_markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """A page: how it was measured, then a section a run."""
    first = runs[0]
    introduction = _INTRODUCTION.format(
        units=first["units"]["offered"],
        shoppers=first["shoppers"],
        measured_at=first["measured_at"][:10],
        processors=first["machine"]["processors"],
        model=first["machine"]["model"],
    )
    return "\n".join([introduction, *(_section(run) for run in runs)])


def _section(run: Mapping[str, Any]) -> str:
    units, money, timing = run["units"], run["money"], run["timing"]
    lines = [
        f"## {run['title']}",
        "",
        "| what | measured |",
        "| --- | --- |",
        f"| shoppers, units | {run['shoppers']}, {units['offered']} of {run['products']} products"
        " |",
        f"| units with buyers + back in stock | {units['with_buyers']} + {units['in_stock']} "
        f"= {units['with_buyers'] + units['in_stock']} |",
        f"| orders (202 answers, each one order) | {run['orders']['accepted']} |",
        f"| completed, cancelled (unpaid or declined) | {run['orders']['completed']}, "
        f"{run['orders']['cancelled']} |",
        f"| most units of one product with one buyer (limit) | {run['orders']['most_of_a_buyer']} "
        f"({run['orders']['per_buyer_limit']}) |",
        f"| money captured - refunded = orders paid | {money['captured'] / 100:.2f} - "
        f"{money['refunded'] / 100:.2f} = {money['paid_orders'] / 100:.2f} GBP |",
        f"| shoppers with their last answer, a second (faster half) | "
        f"{timing['decided_per_second']} |",
        f"| a purchase's answer, ms | p50 {timing['buy_ms']['p50']}, p95 {timing['buy_ms']['p95']},"
        f" p99 {timing['buy_ms']['p99']}, max {timing['buy_ms']['max']} |",
        f"| nothing left of any product after | {timing['first_wave_seconds']} s |",
        f"| the last accepted order in PostgreSQL | {timing['applied_lag_seconds']} s after"
        " its 202 |",
        f"| from the click to the doorstep, median | {timing['delivered_median_seconds']} s |",
        f"| invariants checked, violated | {run['verify']['checks']}, "
        f"{run['verify']['violated']} |",
    ]
    if run.get("killed"):
        killed = run["killed"]
        lines.append(
            f"| {killed['role']} killed with -9 | {killed['after_seconds']} s after the opening, "
            f"{killed['units_sold_before']} units sold; next order accepted "
            f"{killed['next_accepted_seconds']} s later, running again after "
            f"{killed['back_seconds']} s |"
        )
        lines.append(f"| requests repeated with the same key | {run['retries']} |")
    return "\n".join([*lines, ""])
