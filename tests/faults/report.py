"""A run in figures, for programs and for people."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.faults.campaign import Run
from tests.faults.checks.losses import lost_acknowledgements
from tests.faults.checks.receipts import receipts_told
from tests.faults.history import FAULT, FAULT_ENDS, LOSS, Call, History, Outcome


def as_dict(run: Run) -> dict[str, Any]:
    """Everything that is told of a run."""
    options = run.options
    purchases = run.history.purchases()
    outcomes = Counter(call.outcome for call in run.history.of("buy"))
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
        "receipts": receipts_told(run.history, run.snapshot),
        "points": None
        if run.walk is None
        else {
            "sites": run.walk.sites(),
            "struck": sorted(run.walk.struck),
            "unreached": run.walk.unreached,
        },
        "recovery_seconds": _percentiles(recovery_seconds(run.history)),
        "accepted_again_seconds": _percentiles(accepted_again_seconds(run.history)),
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
            f"{told['lost_acknowledgements']} accepted purchases that nobody had read; "
            f"{told['receipts']['orders_again']} of them are orders again"
        )
    presented = {
        what.removeprefix("presented_"): count
        for what, count in told["receipts"].items()
        if what.startswith("presented_")
    }
    yield "receipts presented: " + ", ".join(f"{n} {what}" for what, n in presented.items())
    for trim in told["early_trims"]:
        yield f"{trim['unread']} unread entries trimmed, told by {', '.join(trim['told_by'])}"
    if points := told["points"]:
        yield (
            f"fail points: {len(points['sites'])} sites, {len(points['struck'])} points struck, "
            f"{len(points['unreached'])} that nobody came by"
        )
        yield from (f"    {point}" for point in points["unreached"])
    for what, name in (
        ("answers again after a fault", "recovery_seconds"),
        ("purchases accepted again after it", "accepted_again_seconds"),
    ):
        yield "{}: p50 {p50} s, p99 {p99} s, at most {max} s".format(what, **told[name])
    yield f"nothing left to do {told['settled_seconds']} s after the last fault"
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
        if line.what.startswith(FAULT) and n < len(asked) and earliest[n] < math.inf:
            yield earliest[n] - asked[n]


def accepted_again_seconds(history: History) -> Iterator[float]:
    """For each fault: from its end, or from the blow, until a purchase that came after is accepted.

    While nobody asks at all nothing can be accepted: that time is not counted. What was sold out
    counts as if it had been away, so this is never too short.
    """
    calls = sorted(history.of("buy"), key=lambda call: call.asked_at)
    asked = [call.asked_at for call in calls]
    accepted = [call.answered_at if call.outcome is Outcome.OK else math.inf for call in calls]
    for n in range(len(accepted) - 2, -1, -1):
        accepted[n] = min(accepted[n], accepted[n + 1])
    for at in _ends(history):
        n = bisect.bisect_left(asked, at)
        if n < len(asked) and accepted[n] < math.inf:
            yield accepted[n] - asked[n]


def _ends(history: History) -> Iterator[float]:
    """When each fault was over: told under its number, or with the sale being rebuilt."""
    ends = {
        line.what.removeprefix(FAULT_ENDS): line.at
        for line in history.happened
        if line.what.startswith(FAULT_ENDS)
    }
    rebuilt = dict(history.losses())
    for line in history.happened:
        if line.what == LOSS:
            yield rebuilt[line.at]
        elif line.what.startswith(FAULT):
            yield ends.get(line.what.split(" ", 2)[1], line.at)


def _percentiles(seconds: Iterable[float]) -> dict[str, float | None]:
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: percentile(ordered, share) for name, share in shares.items()}


def percentile(ordered: list[float], share: float) -> float | None:
    """The value below which ``share`` of ``ordered`` lies; None of nothing."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)
