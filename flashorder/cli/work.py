"""``flashorder work``: expiry, the outbox, and every other thing that time brings."""

from __future__ import annotations

import typer

from flashorder.cli.background import run_role
from flashorder.cli.output import JsonOption


def register(root: typer.Typer) -> None:
    """Add the command."""

    @root.command()
    def work(json: JsonOption = False) -> None:
        """Relay events and run the timed jobs, until SIGTERM or SIGINT; several may run at once."""
        from flashorder.app.background import build_worker  # noqa: PLC0415 - heavy: only when it runs

        run_role("worker", build_worker, as_json=json)
