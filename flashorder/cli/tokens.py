"""``flashorder tokens``: bearer tokens of many distinct buyers, for load tests."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from flashorder.cli.accounts import ROLES
from flashorder.cli.output import JsonOption, print_record
from flashorder.cli.running import command_settings
from flashorder.settings import Settings


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
    """Make as many accounts without passwords, and write a bearer token of each."""
    settings = command_settings()
    if str(out) == "-":
        asyncio.run(_issue(settings, count, role, sys.stdout))
        return
    began = time.perf_counter()
    # Whoever reads the file can buy in these names.
    out.touch(mode=0o600)
    with out.open("w", encoding="ascii") as file:
        asyncio.run(_issue(settings, count, role, file))
    record: dict[str, Any] = {
        "tokens": count,
        "role": role,
        "file": str(out),
        "expires_in_seconds": settings.access_token_seconds,
        "seconds": round(time.perf_counter() - began, 3),
    }
    print_record(record, as_json=json)


async def _issue(settings: Settings, count: int, role: str, file: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - heavy
    from rich.progress import Progress  # noqa: PLC0415

    from flashorder.accounts.opening import open_accounts  # noqa: PLC0415
    from flashorder.kernel.errors import InvalidInput  # noqa: PLC0415
    from flashorder.kernel.roles import Role  # noqa: PLC0415

    if role not in set(Role):
        raise InvalidInput(f"--role is {ROLES}, not {role!r}")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("tokens", total=count)
        async with open_accounts(settings) as service:
            async for batch in service.mint_tokens(count, Role(role)):
                file.write("\n".join(batch) + "\n")
                progress.advance(task, len(batch))
