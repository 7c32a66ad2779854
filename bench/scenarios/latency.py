"""Latency at half of capacity, and from the 202 to the row in PostgreSQL.

Capacity is what wrk gets first. Then, round by round, half of it is sent on a schedule over
128 connections; latency counts from when a purchase was due, so a stall is not hidden by the
client waiting with it. A consumer runs on the load's processors, as does PostgreSQL. Of every
hundredth acceptance the row is asked for every 5 ms until it is there: told is the time from the
client's 202 to the first look that finds it, so it is up to 5 ms too long.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.capacity import capacity_per_second
from bench.context import Context
from bench.figures import Claim, Contender, Kind, Outcome, Round, in_turn, kinds_of
from bench.load.scheduled import send_on_schedule
from bench.processes import Program, running
from bench.scenarios.purchase import BUYERS
from bench.stand import Stand, open_stand
from flashorder.infra.postgres.pool import Pool
from loadtest.figures import percentile

TITLE = "latency at half of capacity"
NAME = "flashorder"
SAMPLE_EVERY = 100
LOOK_SECONDS = 0.005
SETTLE_SECONDS = 30.0


async def measure(context: Context) -> Outcome:
    """Capacity once, then the rounds."""
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        service = await stack.enter_async_context(stand.service(context.python))
        sale = await stand.fresh_sale()
        what = stand.purchases(sale, stand.buyers(BUYERS), service.port)
        capacity = await capacity_per_second(context, what, service.pid, stand.store.pid)
        await stack.enter_async_context(consumer(context, stand))
        contenders = [_ours(context, stand, service, capacity)]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = [
        Claim("purchase p99, ms", tuple(series.values(NAME, "purchase_p99_ms")), 10.0),
        Claim("202 to the row p99, ms", tuple(series.values(NAME, "row_p99_ms")), 100.0),
    ]
    notes = [f"capacity was {capacity:,.0f} a second, half of it was sent"]
    return Outcome("latency", TITLE, "purchase_p99_ms", series, kinds_of(contenders), claims, notes)


@asynccontextmanager
async def consumer(context: Context, stand: Stand) -> AsyncIterator[Program]:
    """``flashorder consume`` beside the load; not the web worker's processor."""
    async with running(
        "consumer",
        [context.python, "-m", "flashorder.cli", "consume"],
        cores=context.cores.load,
        folder=stand.folder,
        environment=stand.environment,
    ) as program:
        yield program


class Rows:
    """Orders that were accepted, and when their rows were first seen."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[uuid.UUID, float] = {}
        self.seconds: list[float] = []

    def accepted(self, order_id: str, at: float) -> None:
        """Told by the client; Unix time."""
        self._waiting[uuid.UUID(order_id)] = at

    async def look_until(self, sending: asyncio.Task[object]) -> int:
        """Look until all that was accepted is there; how many rows never came."""
        deadline = None
        while not sending.done() or self._waiting:
            rows = await self._pool.fetch(
                "SELECT order_id FROM orders WHERE order_id = ANY($1)", list(self._waiting)
            )
            now = time.time()
            for row in rows:
                self.seconds.append(max(0.0, now - self._waiting.pop(row["order_id"])))
            if sending.done():
                deadline = deadline or now + SETTLE_SECONDS
                if now > deadline:
                    break
            await asyncio.sleep(LOOK_SECONDS)
        return len(self._waiting)


def _ours(context: Context, stand: Stand, service: Program, capacity: float) -> Contender:
    buyers = stand.buyers(BUYERS)

    async def measured() -> Round:
        sale = await stand.fresh_sale()
        rows = Rows(stand.pool)
        rate = capacity / 2
        sending = asyncio.create_task(
            send_on_schedule(
                context,
                stand.purchases(sale, buyers, service.port),
                count=int(rate * context.seconds),
                connections=context.connections,
                over_seconds=context.seconds,
                sample_every=SAMPLE_EVERY,
                on_sample=rows.accepted,
            )
        )
        missing = await rows.look_until(sending)
        done = await sending
        return {
            "per_second": done.accepted / context.seconds,
            "purchase_p50_ms": done.accepted_p50_ms,
            "purchase_p99_ms": done.accepted_p99_ms,
            "row_p50_ms": percentile(rows.seconds, 0.5) * 1000,
            "row_p99_ms": percentile(rows.seconds, 0.99) * 1000,
            "rows_missing": missing,
            "unsent": done.unsent,
        }

    return Contender(NAME, Kind.OURS, measured)
