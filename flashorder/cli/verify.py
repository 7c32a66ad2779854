"""``flashorder verify``: every invariant over both stores; exit 1 on a violation."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flashorder.cli import EXIT_DOES_NOT_HOLD
from flashorder.cli.output import JsonOption, print_json
from flashorder.cli.running import command_settings
from flashorder.settings import Settings

if TYPE_CHECKING:
    from flashorder.verification.model import InFlight, Report


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("verify")(verify)


def verify(
    settle_seconds: Annotated[
        float, typer.Option(min=0.0, help="Wait at most so long for work in flight to end.")
    ] = 30.0,
    json: JsonOption = False,
) -> None:
    """Check every invariant over Redis and PostgreSQL."""
    report = asyncio.run(run_verification(command_settings(), settle_seconds))
    if json:
        print_json(report_as_dict(report))
    else:
        _print(report)
    if not report.holds:
        raise typer.Exit(EXIT_DOES_NOT_HOLD)


async def run_verification(settings: Settings, settle_seconds: float) -> Report:
    """Connect, wait for a quiet moment, check, close."""
    from flashorder.infra.postgres.pool import connect_postgres  # noqa: PLC0415 - heavy
    from flashorder.infra.redis.connection import connect_redis  # noqa: PLC0415
    from flashorder.inventory.reconciliation.reading import Reader  # noqa: PLC0415
    from flashorder.sales.front import SaleFront  # noqa: PLC0415
    from flashorder.verification.service import Verification, room_invariants  # noqa: PLC0415
    from flashorder.verification.stores import StoreChecks  # noqa: PLC0415

    redis = connect_redis(settings.required_redis_url(), timeout_seconds=10.0)
    try:
        pool = await connect_postgres(
            settings.required_database_url(),
            connections_max=2,
            command_timeout_seconds=300.0,
            application="flashorder verify",
        )
        try:
            reader = Reader(pool, redis, SaleFront(redis, settings.shards), settings.shards)
            checks = StoreChecks(pool, redis, reader, settings.shards)
            verification = Verification(pool, redis, checks, settings.shards, room_invariants())
            return await verification.run(settle_seconds, _progress)
        finally:
            await pool.close()
    finally:
        await redis.aclose()


def report_as_dict(report: Report) -> dict[str, object]:
    """The report for programs."""
    return {
        "holds": report.holds,
        "in_flight": asdict(report.in_flight),
        "checks": [asdict(check) for check in report.checks],
    }


def _progress(left: InFlight, remaining_seconds: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[Kwaiting up to {remaining_seconds:.0f} s for {left}")
        sys.stderr.flush()


def _print(report: Report) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    names = [f"{check.room}.{check.name}" for check in report.checks]
    width = max(map(len, names))
    typer.echo(f"{'check':<{width}}  violations  what must hold")
    for name, check in zip(names, report.checks, strict=True):
        count = f"{check.violations or '-':>10}"
        shown = typer.style(count, fg="red" if check.violations else "green")
        typer.echo(f"{name:<{width}}  {shown}  {check.explanation}")
    for check in report.checks:
        for example in check.examples:
            shown = ", ".join(f"{name}={value}" for name, value in example.items())
            typer.echo(f"  {check.room}.{check.name}: {shown}")
    broken = sum(1 for check in report.checks if check.violations)
    typer.echo(f"{len(report.checks)} checks, {broken} violated")
