"""Numbers of a run, as JSON and as a page for people."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping
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


def as_markdown(runs: Iterable[Mapping[str, Any]]) -> str:
    """A section a run: what was asserted, what was measured."""
    return "\n".join(_section(run) for run in runs)


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
        f"| answers a second while the shoppers fired | {timing['answers_per_second']} |",
        f"| a purchase's answer, ms | p50 {timing['buy_ms']['p50']}, p95 {timing['buy_ms']['p95']},"
        f" p99 {timing['buy_ms']['p99']}, max {timing['buy_ms']['max']} |",
        f"| first units sold out after | {timing['first_wave_seconds']} s |",
        f"| all accepted orders in PostgreSQL | {timing['applied_lag_seconds']} s after the last |",
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
