"""``flashorder reconcile``: hold both stores against each other; ``--correct`` puts right."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from flashorder.cli import EXIT_DOES_NOT_HOLD
from flashorder.cli.output import JsonOption, print_json, print_table
from flashorder.cli.running import command_settings
from flashorder.kernel.errors import InvalidInput
from flashorder.kernel.identifiers import parse_id
from flashorder.settings import Settings

if TYPE_CHECKING:
    from flashorder.inventory.reconciliation.model import Correction, Reconciliation


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("reconcile")(reconcile)


def reconcile(
    sale: Annotated[str | None, typer.Option(help="One sale; without it every sale.")] = None,
    correct: Annotated[
        bool, typer.Option("--correct", help="Adjust the front by the drifts that were found.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Hold stock at the front against what PostgreSQL has booked; exit 1 on a drift."""
    sale_id = None if sale is None else parse_id(sale)
    if sale is not None and sale_id is None:
        raise InvalidInput(f"{sale!r} is not the id of a sale")
    settings = command_settings()
    run, corrections = asyncio.run(_reconcile(settings, sale_id, correct))
    if json:
        from flashorder.inventory.reconciliation.routes import reconciliation_body  # noqa: PLC0415

        print_json(reconciliation_body(run, corrections))
    else:
        _print(run, corrections)
    mended = {(each.sale_id, each.sku) for each in corrections if each.outcome == "applied"}
    drifting = {(item.reading.sale_id, item.reading.sku) for item in run.items if item.drift}
    if run.status == "drifting" and (not drifting or drifting - mended):
        raise typer.Exit(EXIT_DOES_NOT_HOLD)


async def _reconcile(
    settings: Settings, sale_id: uuid.UUID | None, correct: bool
) -> tuple[Reconciliation, list[Correction]]:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - heavy

    from flashorder.infra.postgres.pool import connect_postgres  # noqa: PLC0415
    from flashorder.infra.redis.connection import connect_redis  # noqa: PLC0415
    from flashorder.inventory.reconciliation.reading import Reader  # noqa: PLC0415
    from flashorder.inventory.reconciliation.service import (  # noqa: PLC0415
        ReconciliationMetrics,
        ReconciliationService,
    )
    from flashorder.inventory.reconciliation.store import ReconciliationStore  # noqa: PLC0415
    from flashorder.sales.front import SaleFront  # noqa: PLC0415

    redis = connect_redis(settings.required_redis_url(), timeout_seconds=10.0)
    try:
        pool = await connect_postgres(settings.required_database_url(), connections_max=2)
        try:
            front = SaleFront(redis, settings.shards)
            service = ReconciliationService(
                ReconciliationStore(pool),
                Reader(pool, redis, front, settings.shards),
                front,
                ReconciliationMetrics(CollectorRegistry()),
            )
            run = await service.run(cause="command line", sale_id=sale_id)
            corrections = await service.correct(run.reconciliation_id) if correct else []
            return run, corrections
        finally:
            await pool.close()
    finally:
        await redis.aclose()


def _print(run: Reconciliation, corrections: list[Correction]) -> None:
    columns = ["sku", "available", "applied", "unreleased", "in_stream", "dead_letters", "allotted"]
    print_table(
        [
            {name: getattr(item.reading, name) for name in columns}
            | {"drift": item.drift, "verdict": item.verdict}
            for item in run.items
        ],
        [*columns, "drift", "verdict"],
        title=f"reconciliation {run.reconciliation_id}: {run.status}",
    )
    for each in corrections:
        typer.echo(f"{each.sku}: {each.quantity:+d} units, {each.outcome or 'not answered yet'}")
