"""``flashorder accounts``: make the accounts that nobody can sign up for."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from flashorder.cli.output import JsonOption, print_record
from flashorder.cli.running import command_settings
from flashorder.settings import Settings

ROLES = "shopper, operator, warehouse, support or service"


def register(root: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Make accounts.")
    group.command("create")(create)
    group.callback()(lambda: None)
    root.add_typer(group, name="accounts")


def create(
    email: Annotated[str, typer.Option(help="Who signs in; one account an address.")],
    password: Annotated[
        str, typer.Option(help="At least 8 characters.", envvar="FLASHORDER_ACCOUNT_PASSWORD")
    ],
    role: Annotated[str, typer.Option(help=ROLES)] = "shopper",
    name: Annotated[str | None, typer.Option(help="Default: what stands before the @.")] = None,
    json: JsonOption = False,
) -> None:
    """Create an account of any role; exit code 2 where the e-mail address has one already."""
    settings = command_settings()
    record = asyncio.run(_create(settings, email, password, role, name or email.partition("@")[0]))
    print_record(record, as_json=json)


async def _create(
    settings: Settings, email: str, password: str, role: str, name: str
) -> dict[str, Any]:
    from flashorder.accounts.opening import open_accounts  # noqa: PLC0415 - heavy
    from flashorder.kernel.errors import InvalidInput  # noqa: PLC0415
    from flashorder.kernel.roles import Role  # noqa: PLC0415

    if role not in set(Role):
        raise InvalidInput(f"--role is {ROLES}, not {role!r}")
    async with open_accounts(settings) as service:
        account = await service.create_account(email, password, name, Role(role))
    return {"account_id": account.account_id, "email": account.email, "role": str(account.role)}
