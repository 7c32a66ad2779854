"""What was found: tables for a person, JSON for a program, pictures for a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from bench.figures import Kind, Outcome

WIDTH_WITHOUT_TERMINAL = 160
COLOURS = {Kind.FLOOR: "#999999", Kind.PEER: "#d1895b", Kind.OURS: "#1f5fbf"}


def print_outcome(outcome: Outcome, stream: TextIO) -> None:
    """Contenders with their medians, then the claims."""
    console = Console(file=stream)
    if not console.is_terminal:
        console = Console(file=stream, width=WIDTH_WITHOUT_TERMINAL)
    figures = outcome.series.figures()
    table = Table(title=f"{outcome.scenario}: {outcome.title}", title_justify="left")
    table.add_column("medians", overflow="fold")
    table.add_column("")
    for figure in figures:
        table.add_column(figure.replace("_", " "), justify="right", overflow="fold")
    for name in outcome.series.rounds:
        cells = []
        for figure in figures:
            known = outcome.series.values(name, figure)
            cells.append(_number(outcome.series.median(name, figure)) if known else "")
        table.add_row(name, str(outcome.kinds[name]), *cells)
    console.print(table)
    if outcome.claims:
        claims = Table(show_header=True)
        for column in ("ratio or bound", "median", "lowest", "highest", "target", "holds"):
            claims.add_column(column, overflow="fold")
        for claim in outcome.claims:
            claims.add_row(
                claim.what,
                _number(claim.value),
                _number(min(claim.values)),
                _number(max(claim.values)),
                claim.target(),
                {True: "yes", False: "NO", None: ""}[claim.holds],
            )
        console.print(claims)
    for note in outcome.notes:
        console.print(f"  {note}", markup=False, highlight=False)


def write(outcomes: Sequence[Outcome], conditions: Mapping[str, Any], folder: Path) -> list[Path]:
    """``<scenario>.json`` and ``<scenario>.png`` of each; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for outcome in outcomes:
        path = folder / f"{outcome.scenario}.json"
        facts = {"conditions": dict(conditions), **outcome.as_dict()}
        path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        picture = folder / f"{outcome.scenario}.png"
        draw(outcome, picture)
        written += [path, picture]
    return written


def draw(outcome: Outcome, path: Path) -> None:
    """A bar a contender for the main figure, a dot a round."""
    import matplotlib as mpl  # noqa: PLC0415 - heavy

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    names = [name for name in outcome.series.rounds if outcome.series.values(name, outcome.main)]
    figure, axes = plt.subplots(figsize=(8.5, 1.2 + 0.5 * max(1, len(names))))
    for at, name in enumerate(names):
        values = outcome.series.values(name, outcome.main)
        median = outcome.series.median(name, outcome.main)
        axes.barh(at, median, color=COLOURS[outcome.kinds[name]], height=0.62)
        axes.plot(values, [at] * len(values), "o", color="#222222", markersize=3)
        axes.annotate(f" {_number(median)}", (max(*values, median), at), va="center")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(outcome.main.replace("_", " "))
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.set_title(outcome.title, fontsize=10, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
