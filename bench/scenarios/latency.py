"""Latency at half of capacity, and from the 202 to the row in PostgreSQL.

Capacity is what wrk gets first. Then a share of it is sent on a schedule over 128 connections;
latency counts from when a purchase was due, so a stall is not hidden by the client waiting with it.
Three rows: half of capacity to the front alone; half, and a quarter, with a consumer at work. The
consumer runs beside the web worker, which has half of its processor to spare; client, store and
PostgreSQL share the other, and `unsent` tells where that one was too small to send half of capacity
at all: then the second row measures the load's processor, and the third is the one to read.

Of every hundredth acceptance the row is asked for every 5 ms until it is there: told is the time
from the client's 202 to the first look that finds it, so it is up to 5 ms too long.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.capacity import capacity_per_second
from bench.context import Context
from bench.draining import committed
from bench.figures import Claim, Contender, Kind, Outcome, Round, in_turn, kinds_of
from bench.load.scheduled import send_on_schedule
from bench.processes import Program, running
from bench.scenarios.purchase import BUYERS
from bench.stand import Stand, open_stand
from bench.web import buy_once
from flashorder.infra.postgres.pool import Pool
from loadtest.figures import percentile

TITLE = "latency at half of capacity"
FRONT = "half, the front alone"
HALF = "half, with a consumer"
QUARTER = "a quarter, with a consumer"
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
        place = _Place(context, stand, service)
        contenders = [
            Contender(FRONT, Kind.OURS, lambda: place.measured(capacity / 2, consuming=False)),
            Contender(HALF, Kind.OURS, lambda: place.measured(capacity / 2, consuming=True)),
            Contender(QUARTER, Kind.OURS, lambda: place.measured(capacity / 4, consuming=True)),
        ]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = [
        Claim(f"{name}: purchase p99, ms", tuple(series.values(name, "purchase_p99_ms")), 10.0)
        for name in (FRONT, HALF, QUARTER)
    ]
    claims += [
        Claim(f"{name}: 202 to the row p99, ms", tuple(series.values(name, "row_p99_ms")), 100.0)
        for name in (HALF, QUARTER)
    ]
    claims += [
        Claim(f"{name}: sent and not accepted", tuple(series.values(name, "not_accepted")), 0.0)
        for name in (FRONT, HALF, QUARTER)
    ]
    claims += [
        Claim(f"{name}: rows that never came", tuple(series.values(name, "rows_missing")), 0.0)
        for name in (HALF, QUARTER)
    ]
    notes = [f"capacity was {capacity:,.0f} a second"]
    return Outcome("latency", TITLE, "purchase_p99_ms", series, kinds_of(contenders), claims, notes)


@asynccontextmanager
async def consumer(context: Context, stand: Stand) -> AsyncIterator[Program]:
    """``flashorder consume`` on the web worker's processor."""
    async with running(
        "consumer",
        [context.python, "-m", "flashorder.cli", "consume"],
        cores=context.cores.server,
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


class _Place:
    """One service, measured at several rates."""

    def __init__(self, context: Context, stand: Stand, service: Program) -> None:
        self._context, self._stand, self._service = context, stand, service
        self._buyers = stand.buyers(BUYERS)

    async def measured(self, rate: float, *, consuming: bool) -> Round:
        """``rate`` purchases a second, with a consumer or without."""
        sale = await self._stand.fresh_sale()
        what = self._stand.purchases(sale, self._buyers, self._service.port)
        rows = Rows(self._stand.pool)
        async with AsyncExitStack() as stack:
            if consuming:
                await stack.enter_async_context(consumer(self._context, self._stand))
                await buy_once(what)
                while not await committed(self._stand, sale):  # noqa: ASYNC110 - rows tell no event
                    await asyncio.sleep(LOOK_SECONDS)
            sending = asyncio.create_task(
                send_on_schedule(
                    self._context,
                    what,
                    count=int(rate * self._context.seconds),
                    connections=self._context.connections,
                    over_seconds=self._context.seconds,
                    sample_every=SAMPLE_EVERY if consuming else 0,
                    on_sample=rows.accepted,
                )
            )
            missing = await rows.look_until(sending) if consuming else 0
            done = await sending
        figures = {
            "per_second": done.accepted / self._context.seconds,
            "purchase_p50_ms": done.accepted_p50_ms,
            "purchase_p99_ms": done.accepted_p99_ms,
            "unsent": done.unsent,
            "not_accepted": done.sent - done.accepted,
        }
        if consuming:
            figures |= {
                "row_p50_ms": percentile(rows.seconds, 0.5) * 1000,
                "row_p99_ms": percentile(rows.seconds, 0.99) * 1000,
                "rows_missing": missing,
            }
        return figures
