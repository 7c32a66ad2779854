"""``flashorder tokens``: bearer tokens of many distinct buyers, for load tests."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol, TextIO

import typer

from flashorder.cli.accounts import ROLES
from flashorder.cli.output import JsonOption, print_record
from flashorder.cli.running import command_settings
from flashorder.kernel.errors import InvalidInput
from flashorder.kernel.roles import Role
from flashorder.settings import Settings


class _Writable(Protocol):
    def write(self, text: str, /) -> int: ...


def register(root: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Issue bearer tokens.")
    group.command("issue")(issue)
    group.callback()(lambda: None)
    root.add_typer(group, name="tokens")


def issue(
    out: Annotated[Path, typer.Option(help="The file to write, a token a line; - for stdout.")],
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many buyers.")] = 1,
    role: Annotated[str, typer.Option(help=ROLES)] = "shopper",
    json: JsonOption = False,
) -> None:
    """Make as many accounts without passwords, and write a bearer token of each.

    With --json, `--out -` writes {"token"} a line instead of bare tokens.
    """
    buyer = _parsed_role(role)
    settings = command_settings()
    if str(out) == "-":
        to_stdout = _JsonLines(sys.stdout) if json else sys.stdout
        asyncio.run(_issue(settings, count, buyer, to_stdout))
        return
    began = time.perf_counter()
    with _replaced(out) as file:
        asyncio.run(_issue(settings, count, buyer, file))
    record: dict[str, Any] = {
        "tokens": count,
        "role": role,
        "file": str(out),
        "expires_in_seconds": settings.access_token_seconds,
        "seconds": round(time.perf_counter() - began, 3),
    }
    print_record(record, as_json=json)


class _JsonLines:
    """Writes ``{"token"}`` a line, where a bare token a line is written to it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return self._out.write("".join(f'{{"token":"{line}"}}\n' for line in text.splitlines()))


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """What is written takes the place of ``path`` once it is whole; until then that stays.

    Mode 0600 whatever stood there: whoever reads the file can buy in these names.
    """
    if path.exists() and not path.is_file():  # a pipe, /dev/null
        with path.open("w", encoding="ascii") as file:
            yield file
        return
    path = path.resolve()
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            yield file
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _parsed_role(role: str) -> Role:
    if role not in set(Role):
        raise InvalidInput(f"--role is {ROLES}, not {role!r}")
    return Role(role)


async def _issue(settings: Settings, count: int, role: Role, file: _Writable) -> None:
    from rich.console import Console  # noqa: PLC0415 - heavy
    from rich.progress import Progress  # noqa: PLC0415

    from flashorder.accounts.opening import open_accounts  # noqa: PLC0415

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("tokens", total=count)
        async with open_accounts(settings) as service:
            async for batch in service.mint_tokens(count, role):
                file.write("\n".join(batch) + "\n")
                progress.advance(task, len(batch))
