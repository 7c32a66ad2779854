"""A walk of the fail points in a run: shoppers without end, and every duty there is, meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.breaking import Breaker
from tests.faults.duties import work
from tests.faults.duties.staff import Staff
from tests.faults.history import HistoryFile
from tests.faults.shopping import Shopping, plan_errands
from tests.faults.walk import Walk

SHOPPERS = 12
ERRANDS_EACH = 3
TOUR_SECONDS_MAX = 120.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Walking:
    """Begins when every duty has gone its round once, so that nearly all sites are known."""

    walk: Walk
    staff: Staff
    shopping: Shopping
    breaker: Breaker
    history: HistoryFile
    say: Callable[[str], None]

    async def run(self) -> None:
        """Returns when all passes are through, and what was open beside the sale is closed."""
        walk, staff = self.walk, self.staff
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(work(staff, stopping))
            for _ in range(SHOPPERS):
                group.create_task(self._shop_on(stopping))
            await self._tour()
            missing = f", no round yet of {', '.join(staff.rounds_missing)}"
            self.say(
                f"{len(walk.sites())} sites seen{missing if staff.rounds_missing else ''}; "
                f"walking part {walk.part + 1} of {walk.parts}: {len(walk.points())} points"
            )
            await walk.run(self.history, self.breaker.restart)
            self.say(f"{len(walk.struck)} struck, {len(walk.unreached)} that nobody came by")
            stopping.set()
        await staff.end_all()

    async def _tour(self) -> None:
        ends = time.monotonic() + TOUR_SECONDS_MAX
        await asyncio.sleep(POLL_SECONDS)
        while time.monotonic() < ends and self.staff.rounds_missing:
            await asyncio.sleep(POLL_SECONDS)

    async def _shop_on(self, stopping: asyncio.Event) -> None:
        """A few errands by somebody new, one after the other."""
        staff = self.staff
        while not stopping.is_set():
            buyers = staff.newcomers(1)
            seed = staff.chance.getrandbits(32)
            for errand in plan_errands(
                seed, ERRANDS_EACH, 0.0, buyers, tuple(staff.main_sale.offers)
            ):
                await self.shopping.go(errand)
