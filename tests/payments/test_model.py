"""Payments only rise: the property that makes the order of reports immaterial."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flashorder.payments.model import ENDED, OPEN, PAYMENT, PaymentStatus

RANKS = [
    {PaymentStatus.PENDING},
    {PaymentStatus.REQUIRES_ACTION},
    {PaymentStatus.AUTHORIZED},
    set(ENDED),
    {PaymentStatus.CAPTURED},
]
RANK = {status: rank for rank, statuses in enumerate(RANKS) for status in statuses}


def test_every_state_is_entered_from_all_lower_ones_and_from_no_other() -> None:
    for source in PaymentStatus:
        for target in PaymentStatus:
            assert PAYMENT.permits(source, target) == (RANK[source] < RANK[target])


def test_open_and_ended_and_captured_are_all() -> None:
    assert OPEN | ENDED | {PaymentStatus.CAPTURED} == set(PaymentStatus)


@given(st.lists(st.sampled_from(PaymentStatus)).flatmap(st.permutations))
def test_the_highest_report_stays_whatever_the_order(reports: list[PaymentStatus]) -> None:
    status = PAYMENT.initial
    for report in reports:
        if PAYMENT.permits(status, report):
            status = report
    assert RANK[status] == max((RANK[report] for report in reports), default=0)
