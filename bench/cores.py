"""Which processor runs what: the server under test on one, load and stores on the others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """``pinned`` is false where there is one processor only: then everything shares it."""

    server: tuple[int, ...]
    load: tuple[int, ...]
    pinned: bool

    def words(self) -> str:
        """For a report."""
        if not self.pinned:
            return "not pinned: one processor"
        return f"server on {_list(self.server)}, load and stores on {_list(self.load)}"


def divide(available: Iterable[int], server_count: int = 1) -> Cores:
    """Give the last ``server_count`` processors to the server, but leave one for the load."""
    cores = tuple(sorted(available))
    assert cores, "a process runs somewhere"
    if len(cores) == 1:
        return Cores(cores, cores, pinned=False)
    count = min(server_count, len(cores) - 1)
    return Cores(cores[-count:], cores[:-count], pinned=True)


def available_cores() -> tuple[int, ...]:
    """The processors that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def stay_on(cores: Iterable[int]) -> None:
    """Keep this process, and what it starts from now on, on ``cores``."""
    os.sched_setaffinity(0, cores)


def _list(cores: tuple[int, ...]) -> str:
    return ", ".join(map(str, cores))
