"""CPU time of processes, from the kernel's own accounting in /proc/PID/stat (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Clock ticks of a process, all of its threads; ``reaped`` are those of children that ended."""

    own_ticks: int
    reaped_ticks: int


def parse_stat(line: str) -> CpuTimes:
    """Read a line of /proc/PID/stat; the name in it may hold spaces and brackets."""
    fields = line.rpartition(")")[2].split()
    user, system, user_reaped, system_reaped = (int(each) for each in fields[11:15])
    return CpuTimes(user + system, user_reaped + system_reaped)


def cpu_seconds(pid: int) -> float:
    """CPU seconds of one process so far, a tick (usually 10 ms) fine."""
    return parse_stat(Path(f"/proc/{pid}/stat").read_text()).own_ticks / TICKS_PER_SECOND


def family_cpu_seconds(pid: int) -> float:
    """The same with all descendants, the ended ones too: a PostgreSQL is a family."""
    times = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    ticks = times.own_ticks + times.reaped_ticks
    for child in psutil.Process(pid).children(recursive=True):
        try:
            each = parse_stat(Path(f"/proc/{child.pid}/stat").read_text())
        except OSError:  # it ended just now, and is among the reaped
            continue
        ticks += each.own_ticks + each.reaped_ticks
    return ticks / TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Memory that a process holds, shared pages included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


class Meter:
    """CPU seconds that named groups of processes have used since ``start``."""

    def __init__(self, watched: Mapping[str, Sequence[int]]) -> None:
        self._watched = watched
        self._before: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self._before = self._read()

    def used_seconds(self) -> dict[str, float]:
        """CPU seconds by name."""
        return {name: now - self._before[name] for name, now in self._read().items()}

    def _read(self) -> dict[str, float]:
        return {
            name: sum(family_cpu_seconds(pid) for pid in pids)
            for name, pids in self._watched.items()
        }
