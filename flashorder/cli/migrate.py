"""``flashorder migrate``: bring the database up to date."""

from __future__ import annotations

import asyncio

import typer

from flashorder.cli.output import JsonOption, print_json
from flashorder.cli.running import command_settings


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("migrate")(migrate_database)


def migrate_database(json: JsonOption = False) -> None:
    """Apply the migrations that the database does not have yet; again changes nothing."""
    from flashorder.infra.postgres.migrations import migrate  # noqa: PLC0415 - heavy

    applied = asyncio.run(migrate(command_settings().required_database_url()))
    names = [f"{migration.version:04}_{migration.name}" for migration in applied]
    if json:
        print_json({"applied": names})
    elif names:
        typer.echo("\n".join(f"applied {name}" for name in names))
    else:
        typer.echo("the database is up to date")
