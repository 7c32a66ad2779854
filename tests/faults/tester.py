"""Testing the tester: a run for each planted bug, which some check must tell of.

    python -m tests.faults.tester [NAME …] [--json FILE] [--ledger FILE]

Exit code 1 when a bug was not caught, or when a check tells of a service without one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from tests.faults import ledger
from tests.faults.bugs import BUGS
from tests.faults.campaign import Options, run
from tests.faults.system import Shape

PURCHASES = 220
SECONDS = 12.0
SEED = 5


def caught_by(name: str | None, kept: Path | None = None) -> list[dict[str, Any]]:
    """The checks that tell of the bug, each with its first example; None: of nothing planted.

    ``kept`` is a ledger that the run is appended to.
    """
    options = Options(
        SEED,
        faults=0,
        purchases=PURCHASES,
        seconds=SECONDS,
        window_seconds=4,
        patience_seconds=20.0,
        shape=Shape(bug=name),
    )
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="flashorder-tester-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        result = runner.run(run(options, Path(folder), lambda _: None))
    if kept is not None:
        ledger.append(kept, ledger.entry_of(result, time.monotonic() - began))
    return [
        {"check": each.check, "violations": each.violations, "example": each.examples[0]}
        for each in result.verdicts
        if each.violations
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them one after the other; the exit code."""
    parser = argparse.ArgumentParser(prog="tests.faults.tester", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BUGS)}; none: all")
    parser.add_argument("--json", type=Path, help="write what was found here")
    parser.add_argument("--ledger", type=Path, help="append what came of each run here")
    given = parser.parse_args(arguments)
    if false_alarms := caught_by(None, given.ledger):
        sys.stdout.write(f"violated without any bug: {json.dumps(false_alarms, indent=1)}\n")
        return 1
    found: dict[str, Any] = {}
    for name in given.names or BUGS:
        found[name] = caught_by(name, given.ledger)
        checks = ", ".join(each["check"] for each in found[name]) or "NOT CAUGHT"
        sys.stdout.write(f"{name:<42} {checks}\n")
        sys.stdout.flush()
    missed = [name for name, checks in found.items() if not checks]
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"planted bugs: {len(found) - len(missed)} of {len(found)} caught, "
        f"nothing told of a service without one\n"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
