"""What must hold of a run: pure functions over what clients saw and what is there at the end.

A check yields a line a violation, precise enough to begin with; none: it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.checks import (
    limits,
    lives,
    promises,
    quiet,
    real_time,
    receipts,
    repeats,
    stock,
    streams,
)
from tests.faults.history import History
from tests.faults.snapshot import Snapshot

Judge = Callable[[History, Snapshot], Iterator[str]]
EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check of one run; ``examples`` are the first of its violations."""

    check: str
    violations: int
    examples: tuple[str, ...]


def _named(*judges: Judge) -> dict[str, Judge]:
    return {f"{each.__module__.rpartition('.')[2]}.{each.__name__}": each for each in judges}


CHECKS: dict[str, Judge] = _named(
    stock.units_are_all_there,
    stock.stock_is_never_below_zero,
    stock.each_step_moves_units_whole,
    stock.committed_never_exceeds_allotted,
    promises.each_acceptance_is_one_order,
    promises.a_refusal_is_no_order,
    promises.retries_agree,
    promises.nobody_has_what_nobody_asked_for,
    promises.what_was_sold_is_visible,
    promises.a_cancellation_stands,
    promises.units_go_back_once,
    receipts.what_is_honoured_is_an_order,
    receipts.no_true_receipt_is_denied,
    receipts.no_receipt_serves_another,
    receipts.a_receipt_takes_units_once,
    limits.no_buyer_is_ever_over_the_limit,
    limits.buyers_hold_what_their_orders_take,
    limits.one_order_a_key,
    streams.each_intent_is_applied_once,
    streams.nothing_is_trimmed_that_was_not_applied,
    streams.what_was_trimmed_early_is_told,
    lives.timelines_are_paths,
    lives.money_and_orders_agree,
    lives.our_captures_are_the_providers,
    lives.our_refunds_are_the_providers,
    lives.shipped_orders_have_left,
    lives.labels_are_of_live_orders,
    real_time.sold_out_was_true,
    real_time.limit_reached_was_true,
    real_time.order_of_the_stream_is_real,
    quiet.everything_wanted_was_sold,
    quiet.nothing_is_left_to_do,
    quiet.it_settles_in_time,
    quiet.the_service_agrees,
    quiet.no_answer_is_an_internal_error,
    repeats.doing_it_again_changes_nothing,
)


def judge(history: History, snapshot: Snapshot) -> list[Verdict]:
    """Every check."""
    verdicts = []
    for name, check in CHECKS.items():
        found = list(check(history, snapshot))
        verdicts.append(Verdict(name, len(found), tuple(found[:EXAMPLES_MAX])))
    return verdicts
