"""The command line: one file a command group, each with ``register(root)``.

Exit codes: 0 done, 1 what was checked does not hold, 2 wrong use, 3 a store or service is away, or
there is none to be found: no URL is set, and no ``flashorder up`` runs in the data folder.

With ``--json``, what went wrong is one object on standard error: ``{"error": {"code", "detail"}}``,
and ``fields`` beside them where single fields were refused. A command that was given options that
it does not have says ``wrong_use``; what the operating system refused is an ``os_error``.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from typing import Any, NoReturn

import typer

from flashorder import __version__
from flashorder.kernel.errors import FlashorderError, Unavailable

GROUPS: tuple[str, ...] = (
    "accounts",
    "bench",
    "catalog",
    "chaos",
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
# What Typer raises where the options are wrong, and has no public name for.
_WrongOptions: type[Exception] = typer.BadParameter.__mro__[2]


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
    as_json = "--json" in sys.argv[1:]
    try:
        if not as_json:
            build()()
            return
        # Typer then leaves wrong options to us, and returns the code of an `Exit`.
        sys.exit(build()(standalone_mode=False))
    except FlashorderError as error:
        away = isinstance(error, Unavailable)
        _fail(error, EXIT_AWAY if away else EXIT_WRONG_USE, as_json=as_json)
    except (ConnectionError, TimeoutError) as error:
        _fail(FlashorderError(_said(error), code="unavailable"), EXIT_AWAY, as_json=as_json)
    except OSError as error:
        _fail(FlashorderError(_said(error), code="os_error"), EXIT_WRONG_USE, as_json=as_json)
    except _WrongOptions as error:
        detail = error.format_message()  # type: ignore[attr-defined]
        _fail(FlashorderError(detail, code="wrong_use"), EXIT_WRONG_USE, as_json=as_json)
    except typer.Abort:
        sys.exit(EXIT_DOES_NOT_HOLD)


def _fail(error: FlashorderError, exit_code: int, *, as_json: bool) -> NoReturn:
    """Say what went wrong on standard error: a line, or with --json an object."""
    if as_json:
        told: dict[str, Any] = {"code": error.code, "detail": error.detail}
        if error.fields:
            told["fields"] = [asdict(each) for each in error.fields]
        typer.echo(json.dumps({"error": told}, ensure_ascii=False), err=True)
    else:
        typer.echo(f"flashorder: {error.detail}", err=True)
        for each in error.fields:
            typer.echo(f"  {each.pointer}: {each.detail}", err=True)
    sys.exit(exit_code)


def _said(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}" if error.filename else what
