"""``flashorder consume``: the stream of accepted purchases into PostgreSQL."""

from __future__ import annotations

import typer

from flashorder.cli.background import run_role
from flashorder.cli.output import JsonOption


def register(root: typer.Typer) -> None:
    """Add the command."""

    @root.command()
    def consume(json: JsonOption = False) -> None:
        """Make orders of accepted purchases, until SIGTERM or SIGINT; several may run at once."""
        from flashorder.app.background import build_consumer  # noqa: PLC0415 - heavy: only when it runs

        run_role("consumer", build_consumer, as_json=json)
