"""The ledger: what runs came to is appended, and adds up to the table that is published."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from flashorder.cli import build
from tests.faults.campaign import Options, Run
from tests.faults.checks import Verdict
from tests.faults.history import Outcome
from tests.faults.ledger import PROJECT, Entry, append, entry_of, read, table
from tests.faults.schedule import Kind, blows
from tests.faults.small_world import World, buyer
from tests.faults.system import Shape


def a_run(seed: int, *, bug: str | None = None, violated: int = 0) -> Run:
    """Three keys: one accepted at its second attempt, one refused, one never answered."""
    world = World()
    world.call("buy", buyer(1), "k", Outcome.UNKNOWN)
    world.sell(1)
    world.sold_out(2)
    world.call("buy", buyer(3), "k", Outcome.UNKNOWN)
    faults = blows(("kill consumer.0", "reset web>store"), 7.5)
    verdicts = [Verdict("stock.units_are_all_there", violated, ("one is missing",))]
    options = Options(seed, shape=Shape(bug=bug))
    return Run(options, world.history, world.end, verdicts, faults, faults[:1])


def an_entry(seed: int, *, bug: str | None = None, violated: int = 0) -> Entry:
    """What the ledger keeps of it."""
    return entry_of(a_run(seed, bug=bug, violated=violated), 90.0)


def test_a_run_is_kept_with_all_that_is_published_of_it(tmp_path: Path) -> None:
    path = tmp_path / "chaos.jsonl"
    append(path, an_entry(1))
    append(path, an_entry(2, violated=3))
    first, second = read(path)
    assert (first.seed, second.seed) == (1, 2)
    assert first.outcomes == {"accepted": 1, "refused": 1, "unknown": 1, "asked_again": 1}
    assert (first.purchases, first.faults, first.missed) == (3, {"kill": 2, "reset": 1}, 1)
    assert (first.violations, second.violations) == ({}, {"stock.units_are_all_there": 3})
    assert first.options["faults"] == 20
    assert len(first.commit) >= len("unknown")


def test_runs_add_up() -> None:
    runs = [an_entry(1), an_entry(2, violated=3)]
    bugs = [an_entry(3, bug="a", violated=1), an_entry(3, bug="b")]
    rows = dict(line.strip("| ").split(" | ") for line in table([*runs, *bugs]))
    assert rows["random faults that hit somebody"] == f"4 of 6: 4 {Kind.KILL}, 2 {Kind.RESET}"
    assert rows["purchases"] == "6: 2 accepted, 2 refused, 2 unknown to the end"
    assert rows["violations"] == "3"
    assert rows["planted bugs caught"] == "1 of 2"
    assert rows["runs"].startswith("2 on 1 commits")


def test_the_command_adds_a_ledger_up(tmp_path: Path) -> None:
    path = tmp_path / "chaos.jsonl"
    append(path, an_entry(1))
    answer = CliRunner().invoke(build(), ["chaos", "--sum", str(path)])
    assert answer.exit_code == 0
    assert answer.stdout.splitlines() == list(table(read(path)))
    assert CliRunner().invoke(build(), ["chaos", "--sum", str(tmp_path / "none")]).exit_code == 2


def test_the_document_tells_what_the_ledger_adds_up_to() -> None:
    document = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    told = list(table(read(PROJECT / "docs" / "figures" / "chaos.jsonl")))
    begin = document.index(told[0])
    assert document[begin : begin + len(told)] == told
