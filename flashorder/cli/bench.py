"""``flashorder bench``: each figure beside its floor and its peers, in one run."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashorder.cli import EXIT_DOES_NOT_HOLD
from flashorder.cli.output import JsonOption, print_json
from flashorder.kernel.errors import Misconfigured

if TYPE_CHECKING:
    from bench.figures import Outcome

PROJECT = Path(__file__).parents[2]


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("bench")(bench)


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Scenarios; none: all. `list` shows them.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long a round loads.")] = 5.0,
    connections: Annotated[
        int, typer.Option(min=1, max=10_000, help="Connections of the load.")
    ] = 128,
    orders_behind: Annotated[
        int, typer.Option(min=20_000, help="The larger end of `growth`.")
    ] = 1_000_000,
    overload_seconds: Annotated[
        float, typer.Option(min=2.0, help="How long `overload` lasts.")
    ] = 60.0,
    report: Annotated[Path, typer.Option(help="Folder for JSON and pictures.")] = Path(
        "reports/bench"
    ),
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 where a target is not met.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Measure on this machine, pinned where it can be; tables, JSON and pictures."""
    _require_parts()
    sys.path.insert(0, str(PROJECT))  # the bench stands beside the package, not in it
    from bench.run import SCENARIOS, Options, run  # noqa: PLC0415 - heavy

    if names == ["list"]:
        for name, what in SCENARIOS.items():
            typer.echo(f"{name:<14} {what}")
        return
    options = Options(
        names or [],
        rounds=rounds,
        seconds=seconds,
        connections=connections,
        orders_behind=orders_behind,
        overload_seconds=overload_seconds,
        report=report.absolute(),
    )
    # With --json, standard output is for the program that reads it.
    tables = sys.stderr if json else sys.stdout
    outcomes: list[Outcome] = asyncio.run(
        run(options, lambda text: typer.echo(text, err=True), tables)
    )
    if json:
        print_json([outcome.as_dict() for outcome in outcomes])
    if strict and any(claim.holds is False for each in outcomes for claim in each.claims):
        raise typer.Exit(EXIT_DOES_NOT_HOLD)


def _require_parts() -> None:
    if find_spec("matplotlib") is None or not (PROJECT / "bench").is_dir():
        raise Misconfigured(
            "the bench runs from a checkout with the extra `bench` installed: `make bench`, or "
            "`pip install -e .[loadtest,bench]`"
        )
