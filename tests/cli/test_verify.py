"""``flashorder verify`` and ``reconcile`` as commands: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inventory.reconciliation.conftest import desk  # noqa: F401
from tests.inventory.reconciliation.desk import Desk


@pytest.fixture
def environment(redis_url: str, database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if "FLASHORDER" not in name},
        "FLASHORDER_REDIS_URL": redis_url,
        "FLASHORDER_DATABASE_URL": database_url,
        "FLASHORDER_DATA_DIR": str(tmp_path),
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flashorder.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_empty_stores_hold_every_invariant(environment: dict[str, str]) -> None:
    done = run(environment, "verify", "--settle-seconds", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "front.stock_balances" in done.stdout
    assert " 0 violated" in done.stdout


async def test_a_violation_is_exit_code_1_with_an_example(
    desk: Desk,  # noqa: F811
    environment: dict[str, str],
) -> None:
    await desk.lose(2)
    done = run(environment, "verify", "--settle-seconds", "0", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert not told["holds"]
    (broken,) = (each for each in told["checks"] if each["name"] == "stock_balances")
    assert broken["violations"] == 1
    assert broken["examples"][0]["drift"] == -2


async def test_reconcile_tells_and_corrects(desk: Desk, environment: dict[str, str]) -> None:  # noqa: F811
    await desk.lose(2)
    told = run(environment, "reconcile")
    assert told.returncode == 1, told.stdout + told.stderr
    assert "drifting" in told.stdout
    corrected = run(environment, "reconcile", "--correct", "--json")
    assert corrected.returncode == 0, corrected.stdout + corrected.stderr
    assert json.loads(corrected.stdout)["corrections"][0]["quantity"] == 2
    assert await desk.available() == 100
    assert run(environment, "reconcile").returncode == 0


def test_a_store_that_is_away_is_exit_code_3(environment: dict[str, str]) -> None:
    for setting, url in (
        ("FLASHORDER_REDIS_URL", "redis://127.0.0.1:1/0"),
        ("FLASHORDER_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none"),
    ):
        done = run(environment | {setting: url}, "verify")
        assert done.returncode == 3, done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_sale_that_is_no_id_is_wrong_use(environment: dict[str, str]) -> None:
    assert run(environment, "reconcile", "--sale", "none").returncode == 2
