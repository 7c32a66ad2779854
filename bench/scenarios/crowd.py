"""Buyers alone, and beside a crowd that only keeps connections.

The same purchases are sent on a schedule, at a quarter of what wrk gets just before: alone, and
while 10,000 connections from 200 addresses of this machine are idle, 200 send a head and 200 a body
at a byte a second, and 10 ask for documents and read none; whoever of them is ended comes again.
`p99 with the crowd / alone` is formed within a turn. The crowd runs on the load's processors and
takes some of their time, so the ratio is rather too high than too low.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.accounting import resident_bytes
from bench.capacity import capacity_per_second
from bench.context import Context
from bench.figures import (
    Claim,
    Contender,
    Kind,
    Outcome,
    Round,
    in_turn,
    kinds_of,
    ratio_claim,
)
from bench.load.scheduled import send_on_schedule
from bench.processes import PROJECT, Program, ProgramFailed, clean_environment, launched
from bench.scenarios.purchase import BUYERS
from bench.stand import Stand, open_stand
from flashorder.infra.open_files import open_files_max, raise_open_files
from flashorder.kernel.errors import Misconfigured

TITLE = "buyers beside 10,000 idle and 410 slow connections"
ALONE = "alone"
CROWDED = "with the crowd"
IDLE = 10_000
SLOW = {"heads": 200, "bodies": 200, "deaf": 10}
SHARE = 4
RATIO_MAX = 2.0
OPENING_SECONDS_MAX = 120.0
MEGABYTE = 1_000_000


async def measure(context: Context) -> Outcome:
    """``Misconfigured`` where so many connections cannot be."""
    _require_open_files()
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        service = await stack.enter_async_context(stand.service(context.python))
        sale = await stand.fresh_sale()
        what = stand.purchases(sale, stand.buyers(BUYERS), service.port)
        capacity = await capacity_per_second(context, what, service.pid, stand.store.pid)
        place = _Place(context, stand, service, capacity / SHARE)
        contenders = [
            Contender(ALONE, Kind.OURS, place.alone),
            Contender(CROWDED, Kind.OURS, place.crowded),
        ]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = [
        *ratio_claim(series, "purchase_p99_ms", CROWDED, ALONE, limit=RATIO_MAX),
        Claim("purchases not accepted", tuple(series.values(CROWDED, "not_accepted")), 0.0),
        Claim("idle connections at the end", tuple(series.values(CROWDED, "idle")), 0.99 * IDLE,
              True),
        Claim("memory of the crowd, MB", tuple(series.values(CROWDED, "crowd_mb")), 500.0),
    ]  # fmt: skip
    notes = [f"capacity was {capacity:,.0f} a second"]
    return Outcome("crowd", TITLE, "purchase_p99_ms", series, kinds_of(contenders), claims, notes)


def _require_open_files() -> None:
    wanted = IDLE + sum(SLOW.values()) + 1_000
    _, hard = open_files_max()
    if hard < wanted:
        raise Misconfigured(
            f"the crowd needs {wanted} open files a process, and the hard limit is {hard:.0f}: "
            f"ulimit -Hn {wanted}, or LimitNOFILE={wanted} in the unit"
        )
    raise_open_files(wanted)


class _Place:
    """One service, measured with and without the crowd."""

    def __init__(self, context: Context, stand: Stand, service: Program, rate: float) -> None:
        self._context, self._stand, self._service = context, stand, service
        self._rate = rate
        self._buyers = stand.buyers(BUYERS)
        # Before the first crowd: what one has needed is used again by the next.
        self._bytes_before = resident_bytes(service.pid)

    async def alone(self) -> Round:
        """Nobody else is connected."""
        return await self._bought()

    async def crowded(self) -> Round:
        """All of the crowd is there before the first purchase."""
        seen: dict[str, int] = {}
        async with _crowd(self._context, self._service.port, seen):
            figures = dict(await self._bought())
            grown = resident_bytes(self._service.pid) - self._bytes_before
        figures["crowd_mb"] = grown / MEGABYTE
        return {**figures, "idle": seen["idle"]}

    async def _bought(self) -> Round:
        sale = await self._stand.fresh_sale()
        what = self._stand.purchases(sale, self._buyers, self._service.port)
        done = await send_on_schedule(
            self._context,
            what,
            count=int(self._rate * self._context.seconds),
            connections=self._context.connections,
            over_seconds=self._context.seconds,
        )
        return {
            "per_second": done.accepted / self._context.seconds,
            "purchase_p50_ms": done.accepted_p50_ms,
            "purchase_p99_ms": done.accepted_p99_ms,
            "purchase_max_ms": done.accepted_p100_ms,
            "unsent": done.unsent,
            "not_accepted": done.sent - done.accepted,
        }


@asynccontextmanager
async def _crowd(context: Context, port: int, seen: dict[str, int]) -> AsyncIterator[None]:
    """The crowd, complete; what it has seen is in ``seen`` afterwards."""
    plan = json.dumps({"port": port, "idle": IDLE, **SLOW})
    process = await asyncio.create_subprocess_exec(
        *launched([context.python, "-m", "bench.load.crowd", plan], context.cores.load),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        cwd=PROJECT,
        env=clean_environment(),
    )
    try:
        assert process.stdout is not None, "stdout was asked for as a pipe"
        async with asyncio.timeout(OPENING_SECONDS_MAX):
            line = await process.stdout.readline()
        if not line:
            raise ProgramFailed("the crowd did not come together")
        context.say(f"    the crowd: {line.decode().strip()}")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        said, _ = await process.communicate()
    words = json.loads(said)
    context.say(f"    {words['seen']}")
    seen.update(words)
