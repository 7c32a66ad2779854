"""The picture of a run and its page."""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PICTURE = "picture.png"
PAGE = "index.html"


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The samples of a run; a last line that was cut off is left out."""
    samples = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            samples.append(json.loads(line))
        except ValueError:
            continue
    return samples


def draw(samples: Sequence[Mapping[str, Any]], opening: float, path: Path) -> None:
    """Rate, latency and stock over time since ``opening`` (Unix seconds), as PNG."""
    # It tells of its fonts at the first start, in the midst of what the command says.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    import matplotlib as mpl  # noqa: PLC0415 - heavy

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    at = [sample["at"] - opening for sample in samples]
    figure, (rate, latency, stock) = plt.subplots(3, 1, sharex=True, figsize=(9, 7.5))
    rate.plot(at, [sample["per_second"] for sample in samples], color="#1f5fbf")
    rate.set_ylabel("answers per second")
    users = rate.twinx()
    users.plot(at, [sample["users"] for sample in samples], color="#999999", linestyle=":")
    users.set_ylabel("visitors")
    for name, colour in (("p50_ms", "#2a9d5c"), ("p95_ms", "#d1495b")):
        values = [sample[name] if sample[name] else None for sample in samples]
        latency.plot(at, [v if v is not None else float("nan") for v in values], color=colour,
                     label=name.removesuffix("_ms"))  # fmt: skip
    latency.set_ylabel("latency, ms")
    latency.legend(loc="upper right")
    left = [float("nan") if s["remaining"] is None else s["remaining"] for s in samples]
    stock.plot(at, left, color="#8a5a00")
    stock.set_ylabel("units left")
    stock.set_xlabel("seconds since the opening")
    for axes in (rate, latency, stock):
        axes.axvline(0.0, color="#cccccc", linewidth=0.8)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_page(
    folder: Path,
    facts: Mapping[str, Any],
    statistics: Sequence[Mapping[str, Any]],
    outcomes: Mapping[str, int],
    verified: Mapping[str, Any] | None,
) -> Path:
    """``index.html``: the facts, the picture, requests, outcomes, invariants."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>flashorder load test</title>",
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;"
        "padding:0 1rem;color:#222}table{border-collapse:collapse;margin:1rem 0}"
        "td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:left}"
        "td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00020}"
        "img{max-width:100%}</style>",
        "<h1>Load test</h1>",
        _table(["what", "measured"], [[name, value] for name, value in facts.items()]),
        f"<img src='{PICTURE}' alt='Rate, latency and stock over time'>",
        "<h2>Requests</h2>",
        _table(
            ["request", "count", "failures", "p50 ms", "p95 ms", "p99 ms", "max ms"],
            [_statistics_row(entry) for entry in statistics],
        ),
        "<h2>What became of the clicks</h2>",
        _table(["outcome", "count"], sorted(outcomes.items())),
        "<h2>Invariants</h2>",
        _verification(verified),
        "<p><a href='locust.html'>Locust's own report</a></p>",
    ]
    page = folder / PAGE
    page.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return page


def quantile(response_times: Mapping[str, int], share: float) -> float:
    """The percentile of a histogram ``{milliseconds: count}``."""
    counted = sorted((float(ms), count) for ms, count in response_times.items())
    wanted = share * sum(count for _, count in counted)
    for ms, count in counted:
        wanted -= count
        if wanted <= 0:
            return ms
    return 0.0


def _statistics_row(entry: Mapping[str, Any]) -> list[Any]:
    times = entry["response_times"]
    return [
        entry["name"],
        entry["num_requests"],
        entry["num_failures"],
        *(round(quantile(times, share)) for share in (0.50, 0.95, 0.99)),
        round(entry["max_response_time"] or 0),
    ]


def _verification(verified: Mapping[str, Any] | None) -> str:
    if verified is None:
        return "<p>Not checked: the stores of this service are not known here.</p>"
    rows = [
        [f"{check['room']}.{check['name']}", check["explanation"], check["violations"]]
        for check in verified["checks"]
    ]
    broken = sum(1 for row in rows if row[2])
    verdict = f"<p class='bad'>{broken} violated</p>" if broken else "<p>All hold.</p>"
    return verdict + _table(["check", "what must hold", "violations"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = [f"<table><tr>{cells}</tr>"]
    lines += [f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows]
    return "".join([*lines, "</table>"])


def _cell(value: Any) -> str:
    kind = " class=n" if isinstance(value, int | float) else ""
    return f"<td{kind}>{html.escape(str(value))}</td>"
