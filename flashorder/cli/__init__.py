"""The command line: one file a command group, each with ``register(root)``.

Exit codes: 0 done, 1 what was checked does not hold, 2 wrong use, 3 a store or service is away.
"""

from __future__ import annotations

import importlib
import sys

import typer

from flashorder import __version__
from flashorder.kernel.errors import FlashorderError, Unavailable

GROUPS: tuple[str, ...] = (
    "accounts",
    "bench",
    "catalog",
    "consume",
    "doctor",
    "loadtest",
    "migrate",
    "rebuild",
    "reconcile",
    "sale",
    "serve",
    "simulate",
    "tokens",
    "up",
    "verify",
    "work",
)
EXIT_DOES_NOT_HOLD = 1
EXIT_WRONG_USE = 2
EXIT_AWAY = 3


def build() -> typer.Typer:
    """The whole command line; the groups import what is heavy only when a command runs."""
    root = typer.Typer(
        name="flashorder",
        help="Flash-sale orders: from the click to the parcel.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @root.callback(invoke_without_command=True)
    def options(
        version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    ) -> None:
        if version:
            typer.echo(__version__)
            raise typer.Exit

    for group in GROUPS:
        importlib.import_module(f"flashorder.cli.{group}").register(root)
    return root


def main() -> None:
    """Entry point: one line for each failure, never a traceback."""
    try:
        build()()
    except FlashorderError as error:
        typer.echo(f"flashorder: {error.detail}", err=True)
        for each in error.fields:
            typer.echo(f"  {each.pointer}: {each.detail}", err=True)
        sys.exit(EXIT_AWAY if isinstance(error, Unavailable) else EXIT_WRONG_USE)
