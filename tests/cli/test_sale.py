"""``flashorder catalog`` and ``flashorder sale`` on real stores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import typer
from click.testing import Result
from redis.asyncio import Redis
from typer.testing import CliRunner

from flashorder.cli import catalog, rebuild, sale
from flashorder.kernel.errors import Conflict, DatabaseUnavailable, InvalidInput, NotFound

Run: TypeAlias = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(redis_url: str, database_url: str, tmp_path: Path) -> Run:
    root = typer.Typer(pretty_exceptions_enable=False)
    catalog.register(root)
    sale.register(root)
    rebuild.register(root)
    env = {
        "FLASHORDER_REDIS_URL": redis_url,
        "FLASHORDER_DATABASE_URL": database_url,
        "FLASHORDER_DATA_DIR": str(tmp_path),
    }

    async def invoke(*arguments: str, **more: str) -> Result:
        # In a thread: a command runs an event loop of its own.
        return await asyncio.to_thread(
            CliRunner().invoke, root, list(arguments), env={**env, **more}
        )

    return invoke


def said(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_from_the_shipped_catalogue_to_a_settled_sale(run: Run) -> None:
    report = said(await run("catalog", "import", "--json"))
    assert report["created"] == report["products"] > 3_000
    again = said(await run("catalog", "import", "--json"))
    assert (again["created"], again["updated"]) == (0, 0)

    created = said(
        await run(
            "sale",
            "create",
            *("--title", "Winter sale"),
            *("--item", "85123A=200@2.55", "--item", "22423=100@12.75"),
            *("--per-buyer-limit", "2", "--starts-at", "now"),
            *("--duration", "1h", "--payment-window", "15m", "--open", "--json"),
        )
    )
    sale_id = created["sale_id"]
    assert (created["status"], created["synced"]) == ("open", True)
    assert created["payment_window_seconds"] == 900
    prices = {item["sku"]: item["unit_price"] for item in created["items"]}
    assert prices["85123A"] == {"amount": 255, "currency": "GBP"}

    topped = said(
        await run("sale", "top-up", sale_id, "--sku", "22423", "--quantity", "5", "--json")
    )
    assert {item["sku"]: item["allotted"] for item in topped["items"]}["22423"] == 105
    shown = said(await run("sale", "status", sale_id, "--json"))
    assert {item["sku"]: item["remaining"] for item in shown["items"]} == {
        "85123A": 200,
        "22423": 105,
    }
    for verb, status in (
        ("pause", "paused"),
        ("resume", "open"),
        ("close", "closed"),
        ("settle", "settled"),
    ):
        assert said(await run("sale", verb, sale_id, "--json"))["status"] == status
    listed = said(await run("sale", "list", "--status", "settled", "--json"))
    assert [each["sale_id"] for each in listed["items"]] == [sale_id]


async def test_a_lost_sale_is_seen_and_rebuilt(run: Run, redis_url: str) -> None:
    await run("catalog", "import", "--json")
    item = ("--item", "85123A=200@2.55", "--per-buyer-limit", "2", "--open", "--json")
    sale_id = said(await run("sale", "create", "--title", "T", *item))["sale_id"]
    there = await run("rebuild", "--sale", sale_id)
    assert isinstance(there.exception, Conflict)
    async with Redis.from_url(redis_url) as client:
        await client.flushall()
    lost = said(await run("sale", "status", sale_id, "--json"))
    assert (lost["status"], lost["synced"], lost["at_front"]) == ("open", True, False)
    assert lost["items"][0]["remaining"] is None
    rebuilt = await run("rebuild", "--sale", sale_id, "--json")
    assert said(rebuilt)["restored"] == 0
    assert "opening the new generation" in rebuilt.stderr
    back = said(await run("sale", "status", sale_id, "--json"))
    assert (back["at_front"], back["items"][0]["remaining"]) == (True, 200)
    assert (await run("rebuild", "--sale", sale_id, "--force")).exit_code == 0


async def test_people_read_tables(run: Run) -> None:
    imported = await run("catalog", "import")
    assert imported.exit_code == 0
    assert "created" in imported.stdout
    created = await run(
        *("sale", "create", "--title", "T", "--item", "85123A=1@1", "--per-buyer-limit", "1")
    )
    assert created.exit_code == 0
    assert "2.55" not in created.stdout
    assert "1.00 GBP" in created.stdout
    assert "draft" in created.stdout
    listed = await run("sale", "list")
    assert listed.exit_code == 0
    fields = dict(line.split(maxsplit=1) for line in created.stdout.splitlines()[:8])
    shown = await run("sale", "status", fields["sale_id"])
    assert "at_front                no" in shown.stdout
    assert "True" not in shown.stdout + created.stdout
    assert "False" not in shown.stdout + created.stdout


async def test_what_cannot_be_sold_is_named_and_a_price_is_not_rounded(run: Run) -> None:
    assert (await run("catalog", "import")).exit_code == 0
    draft = ("sale", "create", "--title", "T", "--per-buyer-limit", "1", "--item", "85123A=1@1")
    for currency in ((), ("--currency", "GBP")):
        unknown = await run(*draft, "--item", "NONE=1@1", *currency)
        assert isinstance(unknown.exception, NotFound)
        assert "--item NONE" in unknown.exception.detail
    finer = await run(*draft, "--item", "22423=10@1.999")
    assert isinstance(finer.exception, InvalidInput)
    assert "1.999" in finer.exception.detail
    assert said(await run("sale", "list", "--json"))["items"] == []


@pytest.mark.parametrize(
    ("arguments", "failure"),
    [
        (("sale", "open", "x"), InvalidInput),
        (("sale", "open", "0192f1a0-0000-7000-8000-000000000000"), NotFound),
        (("sale", "list", "--status", "gone"), InvalidInput),
        (("catalog", "import", "/nowhere.csv"), InvalidInput),
        (("sale", "create", "--item", "A", "--title", "T", "--per-buyer-limit", "1"), InvalidInput),
        (
            ("sale", "create", "--item", "A=1@1", "--title", "T", "--per-buyer-limit", "1"),
            NotFound,
        ),
    ],
)
async def test_wrong_use_is_a_failure_of_the_tree(
    run: Run, arguments: tuple[str, ...], failure: type[Exception]
) -> None:
    result = await run(*arguments)
    assert isinstance(result.exception, failure), result.output


async def test_a_database_that_is_away_is_told_as_such(run: Run) -> None:
    result = await run("sale", "list", FLASHORDER_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert isinstance(result.exception, DatabaseUnavailable)
