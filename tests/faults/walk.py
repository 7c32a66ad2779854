"""Walking every fail point that the traffic of a run reaches, one after the other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.history import HistoryFile
from tests.faults.points import ARMED_FILE, FIRED_FILE, SITES_FILE, Mode

POLL_SECONDS = 0.02


@dataclass(slots=True)
class Walk:
    """``part`` of ``parts`` of the points; what was struck, and what nobody came by in time."""

    folder: Path
    seed: int
    part: int = 0
    parts: int = 1
    patience_seconds: float = 6.0
    pause_seconds: float = 0.3
    struck: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    sites_seen: list[str] = field(default_factory=list)

    def sites(self) -> list[str]:
        """Every place that has been seen to do I/O, sorted."""
        try:
            lines = (self.folder / SITES_FILE).read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return sorted(set(lines))

    def points(self) -> Iterator[tuple[str, Mode]]:
        """This part's share of all sites by all modes, shuffled by the seed."""
        everything = [(site, mode) for site in self.sites() for mode in Mode]
        random.Random(f"walk/{self.seed}").shuffle(everything)
        yield from everything[self.part :: self.parts]

    async def run(self, history: HistoryFile) -> None:
        """Arm each, and wait until somebody came by."""
        self.sites_seen = self.sites()
        for site, mode in list(self.points()):
            history.happens(f"fault {mode} {site}")
            point = f"{site}|{mode}"
            if await self._strike(point):
                self.struck.append(point)
                await asyncio.sleep(self.pause_seconds)
            else:
                self.unreached.append(point)

    async def _strike(self, point: str) -> bool:
        armed, fired = self.folder / ARMED_FILE, self.folder / FIRED_FILE
        fresh = self.folder / "fresh"
        fired.unlink(missing_ok=True)
        fresh.write_text(point, encoding="utf-8")
        fresh.rename(armed)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience_seconds):
                while not fired.exists():
                    await asyncio.sleep(POLL_SECONDS)
        armed.unlink(missing_ok=True)
        return fired.exists()
