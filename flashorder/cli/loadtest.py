"""``flashorder loadtest``: Locust with the project's journeys, then ``verify``, then a report."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flashorder.cli import EXIT_DOES_NOT_HOLD
from flashorder.cli.loadtest_progress import Progress, say
from flashorder.cli.loadtest_sale import PRODUCTS, open_sale, require_sale
from flashorder.cli.output import JsonOption, print_json
from flashorder.cli.running import command_settings
from flashorder.kernel.errors import Misconfigured
from flashorder.settings import Settings

if TYPE_CHECKING:
    from flashorder.verification.model import Report

PROJECT = Path(__file__).parents[2]
LOCUSTFILE = PROJECT / "loadtest" / "locustfile.py"
# Time for everybody to be there and to have looked at the sale, per thousand visitors.
GATHER_SECONDS_MIN = 5.0
GATHER_SECONDS_PER_THOUSAND = 4.0


class Shape(StrEnum):
    """How the visitors come."""

    SPIKE = "spike"
    RAMP = "ramp"
    PLATEAU = "plateau"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, complete; ``opens_at`` is Unix time."""

    url: str
    users: int
    units: int
    shape: Shape
    duration_seconds: float
    report: Path
    sale: str = ""
    opens_at: float = 0.0


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("loadtest")(loadtest)


def loadtest(
    url: Annotated[str | None, typer.Option(help="The service; else the running `up`.")] = None,
    sale: Annotated[str | None, typer.Option(help="An open sale; else one is made.")] = None,
    users: Annotated[int, typer.Option(min=1, max=100_000, help="Visitors at once.")] = 500,
    units: Annotated[
        int, typer.Option(min=PRODUCTS, help="Units of the sale that is made.")
    ] = 1000,
    shape: Annotated[
        Shape, typer.Option(help="Everybody at the opening, or growing.")
    ] = Shape.SPIKE,
    duration: Annotated[str, typer.Option(help="How long at most, such as 60s or 5m.")] = "60s",
    report: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("loadtest-report"),
    settle_seconds: Annotated[
        float, typer.Option(min=0.0, help="Before verify, wait at most so long for the rest.")
    ] = 60.0,
    json: JsonOption = False,
) -> None:
    """Drive load at a running flashorder, then verify; exit code of verify."""
    from flashorder.kernel.clock import parse_duration  # noqa: PLC0415
    from flashorder.standalone.ready import running_state  # noqa: PLC0415

    _require_parts()
    settings = command_settings()
    state = running_state(settings)
    plan = Plan(
        url=(url or (state.url if state else f"http://{settings.host}:{settings.port}")).rstrip(
            "/"
        ),
        users=users,
        units=units,
        shape=shape,
        duration_seconds=parse_duration(duration).total_seconds(),
        report=report.absolute(),
        sale=sale or "",
    )
    facts, verified = asyncio.run(_run(plan, settings, settle_seconds))
    page = plan.report / "index.html"
    if json:
        print_json({**facts, "report": str(page), "verify": verified})
    else:
        for name, value in facts.items():
            typer.echo(f"{name:<34} {value}")
        typer.echo(f"{'report':<34} {page}")
    if not verified["holds"]:
        raise typer.Exit(EXIT_DOES_NOT_HOLD)


def _require_parts() -> None:
    missing = [name for name in ("locust", "matplotlib") if find_spec(name) is None]
    if missing or not LOCUSTFILE.is_file():
        raise Misconfigured(
            "load tests run from a checkout with the extra `loadtest` installed: `make loadtest`, "
            "or `pip install -e .[loadtest]`"
        )


async def _run(
    plan: Plan, settings: Settings, settle_seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    from flashorder.cli.verify import report_as_dict, run_verification  # noqa: PLC0415

    # Before anything is issued or written: a wrong sale or address must cost nothing.
    await require_sale(plan.url, plan.sale)
    plan.report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flashorder-loadtest-") as folder:
        tokens = Path(folder) / "tokens"
        await _issue_tokens(settings, plan.users, tokens)
        plan = await _with_sale(plan, settings)
        await _drive(plan, tokens)
    _say("verifying")
    verified: Report = await run_verification(settings, settle_seconds)
    as_dict = report_as_dict(verified)
    facts = await asyncio.to_thread(_write_report, plan, as_dict)
    return facts, as_dict


async def _issue_tokens(settings: Settings, count: int, path: Path) -> None:
    from flashorder.accounts.opening import open_accounts  # noqa: PLC0415 - heavy
    from flashorder.infra.http.endpoint import Role  # noqa: PLC0415

    _say(f"issuing {count} tokens")
    tokens: list[str] = []
    async with open_accounts(settings) as accounts:
        async for batch in accounts.mint_tokens(count, Role.SHOPPER):
            tokens += batch
    await asyncio.to_thread(_write_private, path, "\n".join(tokens) + "\n")


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="ascii")


async def _with_sale(plan: Plan, settings: Settings) -> Plan:
    """The plan with a sale: the one that was named, or a new one through the operators' calls."""
    if plan.sale:
        return replace(plan, opens_at=time.time())
    from flashorder.accounts.opening import open_accounts  # noqa: PLC0415 - heavy
    from flashorder.infra.http.endpoint import Role  # noqa: PLC0415

    async with open_accounts(settings) as accounts:
        minted = [
            token async for batch in accounts.mint_tokens(1, Role.OPERATOR) for token in batch
        ]
    gather_seconds = 0.0
    if plan.shape is Shape.SPIKE:
        gather_seconds = GATHER_SECONDS_MIN + plan.users / 1000 * GATHER_SECONDS_PER_THOUSAND
    opens_at = time.time() + gather_seconds
    title = f"Load test, {plan.shape}"
    sale = await open_sale(plan.url, minted[0], title, plan.units, opens_at)
    return replace(plan, sale=sale, opens_at=opens_at)


async def _drive(plan: Plan, tokens: Path) -> None:
    """Run Locust to its end, with a line that tells how it goes."""
    samples = plan.report / "samples.jsonl"
    samples.unlink(missing_ok=True)
    opens_in = max(0.0, plan.opens_at - time.time())
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--skip-log"),
        *("--only-summary", "--loglevel", "WARNING", "--stop-timeout", "10"),
        *("--host", plan.url, "--sale", plan.sale, "--tokens", str(tokens)),
        *("--shape", plan.shape, "--visitors", str(plan.users)),
        *("--duration", str(plan.duration_seconds + opens_in), "--opens-in", str(opens_in)),
        *("--samples", str(samples), "--html", str(plan.report / "locust.html")),
        *("--json-file", str(plan.report / "statistics")),
    ]
    with (plan.report / "locust.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=PROJECT,
            env=_environment(),
        )
        try:
            progress = Progress(samples, plan.opens_at, sys.stderr)
            while process.returncode is None:
                progress.tell()
                try:
                    await asyncio.wait_for(process.wait(), 0.5)
                except TimeoutError:
                    continue
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
    if process.returncode not in (0, 1):  # 1: some requests failed, which the report tells
        words = (plan.report / "locust.log").read_text(errors="replace")[-2000:]
        raise Misconfigured(f"Locust ended with exit code {process.returncode}:\n{words}")


def _environment() -> dict[str, str]:
    import os  # noqa: PLC0415

    return {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore"}


def _write_report(plan: Plan, verified: dict[str, Any]) -> dict[str, Any]:
    sys.path.insert(0, str(PROJECT))  # the testers stand beside the package, not in it
    from loadtest.report import PICTURE, draw, read_samples, write_page  # noqa: PLC0415

    samples = read_samples(plan.report / "samples.jsonl")
    statistics = json.loads((plan.report / "statistics.json").read_bytes())
    outcomes = samples[-1]["outcomes"] if samples else {}
    since_opening = [each for each in samples if each["at"] >= plan.opens_at] or samples
    facts = {
        "service": plan.url,
        "sale": plan.sale,
        "shape": str(plan.shape),
        "visitors": plan.users,
        "answers": sum(entry["num_requests"] for entry in statistics),
        "failed requests": sum(entry["num_failures"] for entry in statistics),
        "answers per second, at the highest": max(
            (each["per_second"] for each in since_opening), default=0
        ),
        "purchases accepted": outcomes.get("accepted", 0),
        "units left": since_opening[-1]["remaining"] if since_opening else None,
        "invariants violated": sum(1 for each in verified["checks"] if each["violations"]),
    }
    if samples:
        draw(samples, plan.opens_at, plan.report / PICTURE)
    (plan.report / "verify.json").write_text(json.dumps(verified, indent=1, default=str) + "\n")
    write_page(plan.report, facts, statistics, outcomes, verified)
    return facts


def _say(text: str) -> None:
    say(sys.stderr, text)
