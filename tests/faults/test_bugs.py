"""Each planted bug still finds its place in the service: one that does not would catch nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.faults.bugs import BUGS
from tests.faults.schedule import Kind, blows

# Imported once, forked for each: what a plant changes is gone with its process.
PROGRAM = """
import os, sys
import flashorder.app.background, flashorder.app.web
from flashorder.infra.redis import scripts
from tests.faults.bugs import BUGS, plant
for name in BUGS:
    child = os.fork()
    if not child:
        plant(name)
        for script in ("reserve", "honour", "release", "reclaim", "top_up"):
            scripts.load_script(script)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{name} does not find its place")
"""


def test_each_bug_finds_its_place() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_enough_and_each_says_what_is_wrong() -> None:
    assert len(BUGS) >= 25
    assert all(bug.explanation for bug in BUGS.values())


def test_blows_come_in_turn_all_through_the_run() -> None:
    faults = blows(("kill consumer.0", "silence web>store down 1"), 10.0)
    assert [fault.kind for fault in faults] == [Kind.KILL, Kind.SILENCE] * 2
    assert [fault.at_seconds for fault in faults] == [1.25, 3.75, 6.25, 8.75]
    assert (faults[1].target, faults[1].seconds) == ("web>store", 1.0)
    assert blows((), 10.0) == []
    for bug in BUGS.values():
        assert bug.blows == () or blows(bug.blows, 10.0)
