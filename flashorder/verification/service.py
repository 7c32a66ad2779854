"""Wait for a quiet moment, check everything, look twice at what does not hold."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import pkgutil
import time
from collections.abc import Callable, Sequence

from redis.asyncio import Redis

import flashorder
from flashorder.infra.postgres.invariants import Invariant
from flashorder.infra.postgres.pool import Connection, Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory.reconciliation.stream import group_state, unread_total
from flashorder.verification.model import (
    EXAMPLES_MAX,
    CheckResult,
    InFlight,
    Report,
    Violations,
)
from flashorder.verification.stores import StoreChecks

_SQL = load_sql("flashorder.verification")
SETTLE_POLL_SECONDS = 0.2
SECOND_LOOK_SECONDS = 1.0
Progress = Callable[[InFlight, float], None]


def room_invariants() -> dict[str, Sequence[Invariant]]:
    """``INVARIANTS`` of every room that has a module ``invariants``, by the room's name."""
    rooms = (each.name for each in pkgutil.iter_modules(flashorder.__path__) if each.ispkg)
    found: dict[str, Sequence[Invariant]] = {}
    for room in sorted(rooms):
        name = f"flashorder.{room}.invariants"
        if importlib.util.find_spec(name) is not None:
            found[room] = importlib.import_module(name).INVARIANTS
    return found


class Verification:
    """Reads only. Raises ``StoreUnavailable`` or ``DatabaseUnavailable`` when a store is away."""

    def __init__(
        self,
        pool: Pool,
        redis: Redis,
        checks: StoreChecks,
        shards: int,
        invariants: dict[str, Sequence[Invariant]],
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._checks = checks
        self._shards = shards
        self._invariants = invariants

    async def in_flight(self) -> InFlight:
        """What has begun and not ended."""
        states = [await group_state(self._redis, shard) for shard in range(self._shards)]
        with database_failures():
            row = await self._pool.fetchrow(_SQL["in_flight"])
        assert row is not None, "a SELECT without FROM returns one row"
        return InFlight(stream_entries=unread_total(states), **row)

    async def settle(self, timeout_seconds: float, progress: Progress) -> InFlight:
        """Wait until nothing is in flight, or the time is over; what is left."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            left = await self.in_flight()
            remaining_seconds = deadline - time.monotonic()
            if not left.total or remaining_seconds <= 0:
                return left
            progress(left, remaining_seconds)
            await asyncio.sleep(min(SETTLE_POLL_SECONDS, remaining_seconds))

    async def run(self, settle_seconds: float, progress: Progress) -> Report:
        """The whole report. What does not hold at first is looked at again a moment later.

        On a service that runs meanwhile a check of two stores can meet a step half done; what is
        really wrong is still wrong a moment later.
        """
        in_flight = await self.settle(settle_seconds, progress)
        checks = await self._run_once(in_flight)
        if any(check.violations for check in checks):
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            in_flight = await self.settle(settle_seconds, progress)
            second = {(each.room, each.name): each for each in await self._run_once(in_flight)}
            checks = [
                second[check.room, check.name] if check.violations else check for check in checks
            ]
        return Report(in_flight, tuple(checks))

    async def _run_once(self, in_flight: InFlight) -> list[CheckResult]:
        quiet = Violations()
        if in_flight.total:
            quiet.count = in_flight.total
            quiet.examples.append({"left": str(in_flight)})
        checks = [quiet.result("stream", "nothing_in_flight", "all that was begun has ended")]
        checks += await self._checks.run()
        with database_failures():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                for room, invariants in self._invariants.items():
                    checks += [await _run_sql(connection, room, each) for each in invariants]
        return checks


async def _run_sql(connection: Connection, room: str, invariant: Invariant) -> CheckResult:
    statement = invariant.sql.strip().rstrip(";")
    rows = await connection.fetch(
        # The statement is a constant of a room, not input.
        f"SELECT to_jsonb(violation) AS violation, count(*) OVER () AS total\n"
        f"FROM (\n{statement}\n) AS violation\nLIMIT {EXAMPLES_MAX}"
    )
    return CheckResult(
        room,
        invariant.name.removeprefix(f"{room}."),
        invariant.explanation,
        rows[0]["total"] if rows else 0,
        tuple(row["violation"] for row in rows),
    )
