"""``flashorder chaos`` as it is typed; a small run of it, so that the harness itself is tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flashorder.cli import build
from flashorder.kernel.errors import Misconfigured
from tests.faults.checks import CHECKS
from tests.faults.history import read_history
from tests.faults.ledger import read


def test_a_folder_that_is_there_is_not_written_into(tmp_path: Path) -> None:
    answer = CliRunner().invoke(build(), ["chaos", "--seed", "1", "--keep", str(tmp_path)])
    assert isinstance(answer.exception, Misconfigured)
    assert str(tmp_path) in answer.exception.detail


@pytest.mark.timeout(240)
def test_a_small_run_is_told_and_kept(tmp_path: Path) -> None:
    kept, ledger = tmp_path / "run", tmp_path / "ledger.jsonl"
    answer = CliRunner().invoke(
        build(),
        [
            *("chaos", "--seed", "11", "--faults", "4", "--seconds", "4"),
            *("--purchases", "80", "--journeys", "50"),
            *("--longest-fault-seconds", "1", "--payment-window-seconds", "3"),
            *("--keep", str(kept), "--ledger", str(ledger), "--json"),
        ],
    )
    report = json.loads(answer.stdout)
    violated = [each for each in report["checks"] if each["violations"]]
    assert (answer.exit_code, violated) == (0, [])
    assert report["seed"] == 11
    assert len(report["checks"]) == len(CHECKS)
    assert len(report["faults"]["plan"]) == 4
    assert "seed 11" in answer.stderr
    history = read_history(kept / "history.jsonl")
    assert len(history.purchases()) == report["purchases"] >= 80
    assert (kept / "snapshot.json").stat().st_size > 0
    (entry,) = read(ledger)
    assert (entry.seed, entry.purchases, entry.violations) == (11, report["purchases"], {})
