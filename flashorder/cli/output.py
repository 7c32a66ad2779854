"""How commands speak: JSON for programs (``--json``), tables and plain lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 200
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    """One JSON document on standard output; UUIDs and times become strings."""
    typer.echo(msgspec.json.encode(value).decode())


def print_record(record: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing: a JSON object, or a line a field."""
    if as_json:
        print_json(record)
        return
    width = max((len(key) for key in record), default=0)
    for key, value in record.items():
        typer.echo(f"{key:<{width}}  {value}")


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str = ""
) -> None:
    """Rows for a person; cells are ``str(value)``."""
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        # An id that is cut cannot be copied: what is too long goes on in the next line.
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(table)
