"""``flashorder chaos``: a sale under seeded faults, then everything held against what was told."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashorder.cli import EXIT_DOES_NOT_HOLD
from flashorder.cli.output import JsonOption, print_json
from flashorder.kernel.errors import Misconfigured

if TYPE_CHECKING:
    from tests.faults.campaign import Run

PROJECT = Path(__file__).parents[2]


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("chaos")(chaos)


def chaos(
    *,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of faults and shoppers; none: a new one.")
    ] = None,
    faults: Annotated[int, typer.Option(min=0, max=10_000, help="How many.")] = 20,
    purchases: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 1000,
    journeys: Annotated[
        int,
        typer.Option(
            min=0, max=10_000, help="How many of the purchases go on to pay, cancel, pay late …"
        ),
    ] = 1000,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long both are spread over.")] = 30.0,
    longest_fault_seconds: Annotated[
        float, typer.Option(min=0.2, max=30.0, help="The longest that a fault may last.")
    ] = 30.0,
    payment_window_seconds: Annotated[
        int, typer.Option(min=2, max=600, help="How long a buyer has to pay.")
    ] = 8,
    shards: Annotated[int, typer.Option(min=1, max=16, help="Shards of the front.")] = 1,
    store_losses: Annotated[
        int,
        typer.Option(
            min=0, max=100, help="How often the store loses everything, and the sale is rebuilt."
        ),
    ] = 0,
    early_trims: Annotated[
        int,
        typer.Option(
            min=0, max=100, help="How often the stream is trimmed of what nobody has read."
        ),
    ] = 0,
    wrong_clocks: Annotated[
        bool | None,
        typer.Option(
            "--wrong-clocks/--right-clocks",
            help="Roles whose wall clocks are an hour off; else the seed decides, one in three.",
        ),
    ] = None,
    full_disks: Annotated[
        bool | None,
        typer.Option(
            "--full-disks/--large-disks",
            help="Stores on small disks, which are filled; else the seed decides, one in three.",
        ),
    ] = None,
    crash_points: Annotated[
        str,
        typer.Option(
            help="Also strike each I/O of the service before, after and with its reply lost, one "
            "after the other: ALL, a part like 1/4, or @FILE with a point a line.",
        ),
    ] = "",
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep history.jsonl, snapshot.json, data and logs in this new folder."),
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Append what came of it to this file of JSON lines.")
    ] = None,
    add_up: Annotated[
        Path | None,
        typer.Option(
            "--sum",
            exists=True,
            dir_okay=False,
            help="Run nothing: add up such a file, as docs/reliability.md does.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Kill, freeze, cut off and confuse a service of its own during a sale; then judge it.

    Exit code 1 when something that must hold does not. The same seed gives the same faults and the
    same shoppers, at the same moments; what the machine makes of them is its own.
    """
    _require_parts()
    sys.path.insert(0, str(PROJECT))  # the harness stands beside the package, not in it
    import uvloop  # noqa: PLC0415 - heavy, as all that follow

    from tests.faults import ledger as ledgers  # noqa: PLC0415
    from tests.faults.campaign import Options, run  # noqa: PLC0415
    from tests.faults.report import as_dict, lines  # noqa: PLC0415
    from tests.faults.schedule import drawn, new_seed, wrong_by  # noqa: PLC0415
    from tests.faults.system import PURCHASES_ON_SMALL_DISKS_MAX, Shape  # noqa: PLC0415

    if add_up is not None:
        for line in ledgers.table(ledgers.read(add_up)):
            typer.echo(line)
        return
    seed = new_seed() if seed is None else seed
    if wrong_clocks is None:
        wrong_clocks = drawn("clocks", seed)
    if full_disks is None:
        full_disks = drawn("disks", seed) and purchases <= PURCHASES_ON_SMALL_DISKS_MAX
    options = Options(
        seed,
        faults=faults,
        purchases=purchases,
        journeys=journeys,
        seconds=seconds,
        longest_seconds=longest_fault_seconds,
        window_seconds=payment_window_seconds,
        shape=Shape(
            shards=shards,
            points=bool(crash_points),
            clocks=wrong_by(seed) if wrong_clocks else {},
            small_disks=full_disks and _small_disks_are_permitted(),
        ),
        full_disks=full_disks,
        losses=store_losses,
        trims=early_trims,
        walk=_part(crash_points),
        points=_named(crash_points),
    )
    with tempfile.TemporaryDirectory(prefix="flashorder-chaos-") as temporary:
        folder = Path(temporary)
        if keep is not None:
            folder = keep.absolute()
            _make(folder)
        began = time.monotonic()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result: Run = runner.run(run(options, folder, lambda text: typer.echo(text, err=True)))
        if ledger is not None:
            ledgers.append(ledger, ledgers.entry_of(result, time.monotonic() - began))
        if json:
            print_json(as_dict(result))
        else:
            for line in lines(result):
                typer.echo(line)
    if not result.holds:
        raise typer.Exit(EXIT_DOES_NOT_HOLD)


def _small_disks_are_permitted() -> bool:
    """Whether this process has mounts of its own from here on."""
    from tests.faults.disks import NoSmallDisks, separate  # noqa: PLC0415

    try:
        separate()
    except NoSmallDisks as why:
        typer.echo(f"no disk is filled: {why}", err=True)
        return False
    return True


def _part(text: str) -> tuple[int, int] | None:
    """Which part, from 0, of how many."""
    if not text:
        return None
    if text.startswith("@"):
        return 0, 1
    part, _, parts = ("1/1" if text.upper() == "ALL" else text).partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise typer.BadParameter("ALL, a part like 1/4, or @FILE", param_hint="--crash-points")
    return int(part) - 1, int(parts)


def _named(text: str) -> list[str]:
    """The points in a file."""
    if not text.startswith("@"):
        return []
    try:
        lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--crash-points") from None
    return [line for line in lines if line.strip()]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise Misconfigured(f"{folder} is there already: a run is kept in a new folder") from None


def _require_parts() -> None:
    missing = find_spec("hiredis") is None or find_spec("psutil") is None
    if missing or not (PROJECT / "tests" / "faults").is_dir():
        raise Misconfigured(
            "the harness runs from a checkout with the embedded stores installed: `make install`, "
            "or `pip install -e .[embedded]`"
        )
