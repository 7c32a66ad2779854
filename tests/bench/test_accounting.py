"""The kernel's accounting, read right, and that of a real process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.accounting import (
    TICKS_PER_SECOND,
    CpuTimes,
    Meter,
    cpu_seconds,
    family_cpu_seconds,
    parse_stat,
    resident_bytes,
)
from bench.cores import Cores, divide

STAT = "42 (a (strange) name) S 1 42 42 0 -1 4194304 9 8 7 6 150 25 30 5 20 0 1 0 99 1000 50 0"


def test_a_name_with_brackets_does_not_shift_the_fields() -> None:
    assert parse_stat(STAT) == CpuTimes(own_ticks=175, reaped_ticks=35)


def test_work_of_this_process_is_counted() -> None:
    meter = Meter({"me": [os.getpid()], "nobody": []})
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) - before < 0.05:
        sum(range(10_000))
    used = meter.used_seconds()
    assert used["me"] >= 0.05 - 1 / TICKS_PER_SECOND
    assert used["nobody"] == 0
    assert resident_bytes(os.getpid()) > 1_000_000


def test_a_child_that_has_ended_still_counts() -> None:
    before = family_cpu_seconds(os.getpid())
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import time\nwhile time.process_time() < .1: pass"],
        check=True,
    )
    assert family_cpu_seconds(os.getpid()) - before >= 0.08


@pytest.mark.parametrize(
    ("available", "server_count", "expected"),
    [
        ([0], 1, Cores((0,), (0,), pinned=False)),
        ([0, 1], 1, Cores((1,), (0,), pinned=True)),
        ([0, 1], 2, Cores((1,), (0,), pinned=True)),
        ([4, 2, 6], 2, Cores((4, 6), (2,), pinned=True)),
    ],
)
def test_the_load_keeps_a_processor(
    available: list[int], server_count: int, expected: Cores
) -> None:
    assert divide(available, server_count) == expected
