"""``flashorder catalog``: bring products in from files."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashorder.cli.output import JsonOption, print_json, print_record
from flashorder.cli.running import command_settings
from flashorder.settings import Settings

if TYPE_CHECKING:
    from flashorder.inventory.catalogue_import import ImportReport

ERRORS_SHOWN = 10


def register(root: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Bring products in from files.", no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("import")(import_file)
    root.add_typer(group, name="catalog")


def import_file(
    file: Annotated[
        Path | None,
        typer.Argument(help="CSV: order lines or products. Without it, the shipped catalogue."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Import products from FILE; the same file again changes nothing."""
    settings = command_settings()
    watched = not json and sys.stderr.isatty()
    report = asyncio.run(_import(settings, file, watched=watched))
    if json:
        print_json(asdict(report))
        return
    record = asdict(report)
    errors = record.pop("errors")
    print_record(record, as_json=False)
    for error in errors[:ERRORS_SHOWN]:
        typer.echo(f"line {error['line']}: {error['code']}: {error['detail']}", err=True)
    if report.errors_total > ERRORS_SHOWN:
        typer.echo(f"… and {report.errors_total - ERRORS_SHOWN} more", err=True)


async def _import(settings: Settings, file: Path | None, *, watched: bool) -> ImportReport:
    from flashorder.data import CATALOGUE_FILE  # noqa: PLC0415 - heavy imports wait for the command
    from flashorder.infra.postgres.pool import connect_postgres  # noqa: PLC0415
    from flashorder.inventory.catalogue_import import import_catalogue  # noqa: PLC0415

    def progress(lines: int) -> None:
        if watched:
            typer.echo(f"\r{lines:,} lines read", err=True, nl=False)

    pool = await connect_postgres(settings.required_database_url(), connections_max=2)
    try:
        return await import_catalogue(pool, file or CATALOGUE_FILE, actor="cli", progress=progress)
    finally:
        if watched:
            typer.echo(err=True)
        await pool.close()
