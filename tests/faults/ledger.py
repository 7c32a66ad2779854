"""The ledger of runs: a JSON line each, appended; what it adds up to is what is published.

docs/figures/chaos.jsonl holds the runs that docs/reliability.md tells of, and a test holds the two
together. ``flashorder chaos --ledger FILE`` appends, ``flashorder chaos --sum FILE`` adds up.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.campaign import Options, Run
from tests.faults.report import (
    accepted_again_seconds,
    as_dict,
    percentile,
    recovery_seconds,
)

PROJECT = Path(__file__).parents[2]


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One run. ``commit`` ends with ``+`` where the checkout had changes beside it.

    ``seconds`` is the whole run, its start and its judging included. ``faults`` counts what was
    planned by kind, ``missed`` what of it found nobody to hit. ``recovery_seconds`` and
    ``accepted_again_seconds``: see ``report``. ``violations`` by check; those of a planted bug are
    its being caught. A point is a place that does I/O and what happens to it there.
    """

    at: str
    commit: str
    seed: int
    options: dict[str, Any]
    seconds: float
    faults: dict[str, int] = {}
    missed: int = 0
    purchases: int
    outcomes: dict[str, int]
    calls: int
    orders: dict[str, int]
    violations: dict[str, int] = {}
    recovery_seconds: list[float] = []
    accepted_again_seconds: list[float] = []
    settled_seconds: float
    store_losses: int = 0
    lost_acknowledgements: int = 0
    struck: list[str] = []
    unreached: list[str] = []
    bug: str | None = None


def entry_of(run: Run, seconds: float) -> Entry:
    """What the ledger keeps of a run that took ``seconds``."""
    told = as_dict(run)
    return Entry(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        seed=run.options.seed,
        options=_plain(run.options),
        seconds=round(seconds, 1),
        faults=told["faults"]["by_kind"],
        missed=told["faults"]["missed"],
        purchases=told["purchases"],
        outcomes=told["outcomes"],
        calls=told["calls"],
        orders=told["orders"],
        violations={each.check: each.violations for each in run.verdicts if each.violations},
        recovery_seconds=[round(each, 2) for each in recovery_seconds(run.history)],
        accepted_again_seconds=[round(each, 2) for each in accepted_again_seconds(run.history)],
        settled_seconds=told["settled_seconds"],
        store_losses=told["store_losses"],
        lost_acknowledgements=told["lost_acknowledgements"],
        struck=run.walk.struck if run.walk else [],
        unreached=run.walk.unreached if run.walk else [],
        bug=run.options.shape.bug,
    )


def append(path: Path, entry: Entry) -> None:
    """One whole line in one write: runs that end together do not mix theirs."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, msgspec.json.encode(entry) + b"\n")
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Entry]:
    """Every line of the ledger. Raises ``msgspec.MsgspecError`` for one that is none."""
    return [msgspec.json.decode(line, type=Entry) for line in path.read_bytes().splitlines()]


def table(entries: Sequence[Entry]) -> Iterator[str]:
    """The published table, a line of Markdown each; of runs with a bug only how many told of it."""
    runs = [each for each in entries if each.bug is None]
    yield "| what | measured |"
    yield "| --- | --- |"
    for what, measured in (*_rows(runs), *_bugs(entries)):
        yield f"| {what} | {measured} |"


def _rows(runs: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    commits = len({each.commit for each in runs})
    hours = sum(each.seconds for each in runs) / 3600
    yield "runs", f"{len(runs)} on {commits} commits, {hours:.1f} hours"
    hit = _sum(each.faults for each in runs)
    missed = sum(each.missed for each in runs)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in hit.most_common())
    yield "random faults that hit somebody", f"{hit.total() - missed:,} of {hit.total():,}: {kinds}"
    outcomes = _sum(each.outcomes for each in runs)
    yield (
        "purchases",
        f"{sum(each.purchases for each in runs):,}: {outcomes['accepted']:,} accepted, "
        f"{outcomes['refused']:,} refused, {outcomes['unknown']:,} unknown to the end",
    )
    yield "of these, asked again for want of an answer", f"{outcomes['asked_again']:,}"
    yield "violations", f"{sum(_sum(each.violations for each in runs).values()):,}"
    for what, name in (
        ("from a fault to the next definite answer", "recovery_seconds"),
        ("from the end of a fault until purchases were accepted again", "accepted_again_seconds"),
    ):
        seconds = sorted(second for each in runs for second in getattr(each, name))
        shares = (percentile(seconds, share) for share in (0.5, 0.99, 1.0))
        yield what, "median {} s, p99 {} s, longest {} s".format(*shares)
    longest = max((each.settled_seconds for each in runs), default=0.0)
    yield "from the last fault until nothing was left to do", f"longest {longest:.1f} s"
    struck = {point for each in runs for point in each.struck}
    known = struck | {point for each in runs for point in each.unreached}
    yield "crash points struck", f"{len(struck):,} of {len(known):,}"
    yield (
        "times that the store lost everything; accepted purchases lost with it, each counted",
        f"{sum(each.store_losses for each in runs):,}; "
        f"{sum(each.lost_acknowledgements for each in runs):,}",
    )


def _bugs(entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    caught = {each.bug: bool(each.violations) for each in entries if each.bug is not None}
    if caught:
        yield "planted bugs caught", f"{sum(caught.values())} of {len(caught)}"


def commit() -> str:
    """The commit of the checkout, short; with a ``+`` where a file of it is changed."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "--short", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _plain(options: Options) -> dict[str, Any]:
    """The options as JSON has them, but for the seed and the points, which stand beside."""
    plain: dict[str, Any] = msgspec.to_builtins(options)
    del plain["seed"], plain["points"]
    return plain


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total
