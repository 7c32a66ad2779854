"""``flashorder rebuild``: bring a sale back that the front has lost."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from flashorder.cli.output import JsonOption
from flashorder.cli.running import command_settings
from flashorder.cli.sale import parsed_sale_id, print_sale, sale_record
from flashorder.settings import Settings

if TYPE_CHECKING:
    from flashorder.rebuilding.service import Progress, Rebuilt, Step

STORE_TIMEOUT_SECONDS = 10.0


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("rebuild")(rebuild)


def rebuild(
    sale: Annotated[str, typer.Option(help="The id of the sale.")],
    force: Annotated[
        bool, typer.Option("--force", help="Rebuild it though the front still has it.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Fill the front anew from PostgreSQL with a sale that it has lost; safe to run again."""
    rebuilt = asyncio.run(
        rebuild_sale(command_settings(), parsed_sale_id(sale), force=force, progress=_tell)
    )
    record = {**sale_record(rebuilt.sale), "restored": rebuilt.restored}
    print_sale(record, as_json=json)


async def rebuild_sale(
    settings: Settings,
    sale_id: uuid.UUID,
    *,
    force: bool = False,
    progress: Progress = lambda _step, _done: None,
) -> Rebuilt:
    """``Rebuilding.rebuild`` on the stores of ``settings``; raises what it raises."""
    # Heavy imports wait for the command.
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from flashorder.app.parts import build_fencing  # noqa: PLC0415
    from flashorder.infra.postgres.pool import connect_postgres  # noqa: PLC0415
    from flashorder.infra.redis.connection import connect_redis  # noqa: PLC0415
    from flashorder.inventory.ledger import StockLedger  # noqa: PLC0415
    from flashorder.rebuilding.service import Rebuilding  # noqa: PLC0415
    from flashorder.reservations.holds import StoreHolds  # noqa: PLC0415
    from flashorder.sales.front import SaleFront  # noqa: PLC0415
    from flashorder.sales.service import SalesService  # noqa: PLC0415

    redis = connect_redis(settings.required_redis_url(), timeout_seconds=STORE_TIMEOUT_SECONDS)
    try:
        pool = await connect_postgres(settings.required_database_url(), connections_max=2)
        try:
            front = SaleFront(redis, settings.shards)
            sales = SalesService(pool, front, StockLedger(), settings)
            holds = StoreHolds(redis, settings.shards)
            fencing = build_fencing(settings, pool, CollectorRegistry())
            rebuilding = Rebuilding(pool, redis, front, sales, holds, fencing, settings)
            return await rebuilding.rebuild(sale_id, force=force, progress=progress)
        finally:
            await pool.close()
    finally:
        await redis.aclose()


def _tell(step: Step, done: int) -> None:
    typer.echo(f"{step}: {done:,}" if done else f"{step}", err=True)
