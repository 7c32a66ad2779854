"""Walking every fail point that the traffic of a run reaches, a few at a time.

A site is a place in the service that does I/O; a point is a site and what is to happen there. The
walk begins when every duty has gone its round (``duties``), and takes in what is seen later. Who is
come by seldom gets more patience in a further pass, and its role is started anew meanwhile: some
I/O is done at the beginning or at the end of a process only.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.history import FAULT, HistoryFile
from tests.faults.points import ARMED, FIRED, SITES_FILE, Mode, file_of

POLL_SECONDS = 0.02
PATIENCE_SECONDS = (4.0, 20.0, 40.0)
"""For each pass."""
NUDGE_AFTER = 0.3
ARMED_AT_ONCE = 4
PAUSE_SECONDS = 0.3


@dataclass(slots=True)
class Walk:
    """``part`` of ``parts`` of the points, or those that are ``named``.

    ``struck`` and ``unreached`` are points, as ``site|mode``. Which part a point belongs to is of
    its name alone: the parts of several runs are together all points, whatever each has seen.
    """

    folder: Path
    seed: int
    part: int = 0
    parts: int = 1
    named: Sequence[str] = ()
    patience_seconds: Sequence[float] = PATIENCE_SECONDS
    struck: list[str] = field(default_factory=list)

    def sites(self) -> list[str]:
        """Every place that has been seen to do I/O, sorted."""
        try:
            lines = (self.folder / SITES_FILE).read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return sorted(set(lines))

    def points(self) -> list[str]:
        """This part's share of all that has been seen by now, shuffled by the seed."""
        points = list(self.named) or [
            point
            for point in (f"{site}|{mode}" for site in self.sites() for mode in Mode)
            if _part_of(point, self.parts) == self.part
        ]
        random.Random(f"walk/{self.seed}").shuffle(points)
        return points

    @property
    def unreached(self) -> list[str]:
        """What nobody came by in all passes."""
        struck = set(self.struck)
        return sorted(point for point in self.points() if point not in struck)

    async def run(self, history: HistoryFile, nudge: Callable[[str], None]) -> None:
        """Arm each until somebody came by, a few at once; ``nudge`` has a role start anew."""
        for name in (ARMED, FIRED):
            (self.folder / name).mkdir(exist_ok=True)
        for number, patience_seconds in enumerate(self.patience_seconds):
            struck = set(self.struck)
            left = iter([each for each in self.points() if each not in struck])

            async def lane(
                number: int = number,
                patience_seconds: float = patience_seconds,
                left: Iterator[str] = left,
            ) -> None:
                for point in left:
                    role = point.partition(" ")[0] if number else ""
                    history.happens(f"armed {point}")
                    if await self._strike(point, patience_seconds, role, nudge):
                        history.happens(f"{FAULT} struck {point}")
                        self.struck.append(point)
                        await asyncio.sleep(PAUSE_SECONDS)

            async with asyncio.TaskGroup() as group:
                for _ in range(ARMED_AT_ONCE):
                    group.create_task(lane())

    async def _strike(
        self, point: str, patience_seconds: float, role: str, nudge: Callable[[str], None]
    ) -> bool:
        """Whether somebody came by in time; a ``role`` that is named is nudged on the way."""
        armed, fired = (self.folder / name / file_of(point) for name in (ARMED, FIRED))
        armed.touch()
        for n, share in enumerate((NUDGE_AFTER, 1 - NUDGE_AFTER)):
            if n and role:
                nudge(role)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_seconds * share):
                    while not fired.exists():
                        await asyncio.sleep(POLL_SECONDS)
            if fired.exists():
                break
        armed.unlink(missing_ok=True)
        return fired.exists()


def _part_of(point: str, parts: int) -> int:
    return int.from_bytes(hashlib.blake2b(point.encode(), digest_size=4).digest()) % parts
