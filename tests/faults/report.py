"""A run in figures, for programs and for people."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.faults.campaign import Run
from tests.faults.checks.losses import lost_acknowledgements
from tests.faults.history import Call, History, Outcome


def as_dict(run: Run) -> dict[str, Any]:
    """Everything that is told of a run."""
    options = run.options
    purchases = run.history.purchases()
    outcomes = Counter(call.outcome for call in run.history.of("buy"))
    recoveries = sorted(recovery_seconds(run.history))
    return {
        "seed": options.seed,
        "holds": run.holds,
        "purchases": len(purchases),
        "outcomes": outcomes_of(purchases.values()),
        "calls": len(run.history.calls),
        "attempts": {str(outcome): outcomes[outcome] for outcome in Outcome},
        "orders": dict(Counter(order.status for order in run.snapshot.orders)),
        "faults": {
            "planned": len(run.planned),
            "missed": len(run.missed),
            "by_kind": dict(Counter(str(fault.kind) for fault in run.planned)),
            "plan": [str(fault) for fault in run.planned],
        },
        "store_losses": len(run.snapshot.log.flushes),
        "early_trims": [
            {"unread": each.unread, "told_by": each.told_by} for each in run.snapshot.trims
        ],
        "lost_acknowledgements": lost_acknowledgements(run.history, run.snapshot),
        "points": None
        if run.walk is None
        else {
            "sites": len(run.walk.sites_seen),
            "struck": len(run.walk.struck),
            "unreached": run.walk.unreached,
        },
        "recovery_seconds": {
            "median": percentile(recoveries, 0.5),
            "p99": percentile(recoveries, 0.99),
            "max": percentile(recoveries, 1.0),
        },
        "settled_seconds": round(run.snapshot.settled_seconds, 1),
        "store_transactions": run.snapshot.log.length,
        "checks": [
            {"check": each.check, "violations": each.violations, "examples": list(each.examples)}
            for each in run.verdicts
        ],
    }


def lines(run: Run) -> Iterator[str]:
    """For a person: what happened, and each check that does not hold."""
    told = as_dict(run)
    attempts, outcomes = told["attempts"], told["outcomes"]
    yield (
        f"seed {told['seed']}: {told['purchases']} purchases, {outcomes['accepted']} accepted, "
        f"{outcomes['refused']} refused, {outcomes['unknown']} unknown to the end; "
        f"{outcomes['asked_again']} asked again for want of an answer; {told['calls']} calls"
    )
    yield "attempts to buy: " + ", ".join(f"{count} {name}" for name, count in attempts.items())
    yield "orders: " + ", ".join(f"{count} {name}" for name, count in told["orders"].items())
    kinds = ", ".join(f"{count} {kind}" for kind, count in told["faults"]["by_kind"].items())
    missed = told["faults"]["missed"]
    yield f"faults: {kinds}" + (f"; {missed} found nobody to hit" if missed else "")
    if told["store_losses"]:
        yield (
            f"the store lost everything {told['store_losses']} times, and with it "
            f"{told['lost_acknowledgements']} accepted purchases that nobody had read"
        )
    for trim in told["early_trims"]:
        yield f"{trim['unread']} unread entries trimmed, told by {', '.join(trim['told_by'])}"
    if points := told["points"]:
        yield (
            f"fail points: {points['sites']} sites, {points['struck']} points struck, "
            f"{len(points['unreached'])} that nobody came by"
        )
    recovery = told["recovery_seconds"]
    yield (
        f"answers again after a fault: median {recovery['median']} s, p99 {recovery['p99']} s; "
        f"nothing left to do after {told['settled_seconds']} s"
    )
    for check in told["checks"]:
        if check["violations"]:
            yield f"VIOLATED {check['check']}: {check['violations']}"
            yield from (f"    {example}" for example in check["examples"])
    broken = sum(1 for check in told["checks"] if check["violations"])
    yield f"{len(told['checks'])} checks, {broken} violated"


def outcomes_of(purchases: Iterable[Sequence[Call]]) -> dict[str, int]:
    """How many keys came to what; ``asked_again`` counts those that had no answer at first.

    Accepted: told of an order by any attempt. Refused: told no, and never of an order.
    """
    found = {"accepted": 0, "refused": 0, "unknown": 0, "asked_again": 0}
    for attempts in purchases:
        outcomes = [call.outcome for call in attempts]
        if Outcome.OK in outcomes:
            found["accepted"] += 1
        elif Outcome.REFUSED in outcomes:
            found["refused"] += 1
        else:
            found["unknown"] += 1
        found["asked_again"] += len(outcomes) > 1 and Outcome.UNKNOWN in outcomes
    return found


def recovery_seconds(history: History) -> Iterator[float]:
    """For each fault: from the first purchase asked after it to the first definite answer to one.

    Nobody asks for a while at the end of a run: what nobody asked was not unanswered.
    """
    calls = sorted(history.of("buy"), key=lambda call: call.asked_at)
    asked = [call.asked_at for call in calls]
    earliest = [math.inf if call.outcome is Outcome.UNKNOWN else call.answered_at for call in calls]
    for n in range(len(earliest) - 2, -1, -1):
        earliest[n] = min(earliest[n], earliest[n + 1])
    for line in history.happened:
        n = bisect.bisect_left(asked, line.at)
        if line.what.startswith("fault") and n < len(asked) and earliest[n] < math.inf:
            yield earliest[n] - asked[n]


def percentile(ordered: list[float], share: float) -> float | None:
    """The value below which ``share`` of ``ordered`` lies; None of nothing."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)
