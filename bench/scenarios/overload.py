"""Three times more offered than the service can do, for a minute.

Capacity is what wrk gets in a round just before. Then a client opens 4,000 connections and at once,
while the service may still be accepting them (`accepted_max_ms` tells what that costs), sends three
times as much on a schedule, whatever comes back; a purchase that is due while all of its
connections wait is not sent (`unsent_share`), as with buyers whose connection is taken. Told are
goodput against capacity, latency of what was accepted from when it was due, growth of the worker's
memory over the second half, and refusals without a code or, for 429 and 5xx, without Retry-After.
A connection whose turn comes after thousands of others is in no cache of the processor any more,
so each purchase costs more than in the capacity round: `crowd_per_second` is what wrk gets with as
many connections as the overload has, and `goodput_of_crowd` the goodput against that.
One round: `--overload-seconds` says how long.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

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
from bench.floors import running as floors
from bench.load.scheduled import Scheduled, send_on_schedule
from bench.load.wrk import Purchases
from bench.processes import Program
from bench.scenarios.purchase import BUYERS, floor_contender
from bench.stand import Stand, open_stand

TITLE = "three times more offered than capacity"
NAME = "flashorder"
TIMES = 3
CONNECTIONS = 4_000
MEGABYTE = 1_000_000


async def measure(context: Context) -> Outcome:
    """One long round."""
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        # The stream grows for a minute without a consumer: that is not what is asked here.
        service = await stack.enter_async_context(stand.service(context.python))
        floor = await stack.enter_async_context(floors.floor_application(context))
        contenders = [_floor(context, floor, stand), _ours(context, stand, service)]
        series = await in_turn(contenders, 1, context.say)
    claims = [
        Claim("goodput / capacity", tuple(series.values(NAME, "goodput_share")), 0.9, True),
        Claim("goodput / capacity with as many connections",
              tuple(series.values(NAME, "goodput_of_crowd"))),
        *ratio_claim(series, "crowd_share", NAME, floors.NAME),
        Claim("accepted p99, ms", tuple(series.values(NAME, "accepted_p99_ms")), 1000.0),
        Claim("memory growth over the second half, MB",
              tuple(series.values(NAME, "memory_growth_mb")), 20.0),
        Claim("untyped failures", tuple(series.values(NAME, "untyped")), 0.0),
        Claim("refusals without Retry-After",
              tuple(series.values(NAME, "without_retry_after")), 0.0),
    ]  # fmt: skip
    return Outcome("overload", TITLE, "goodput_share", series, kinds_of(contenders), claims)


def _floor(context: Context, floor: floors.Floor, stand: Stand) -> Contender:
    few = floor_contender(context, floor, stand)
    many = floor_contender(replace(context, connections=CONNECTIONS), floor, stand)

    async def measured() -> Round:
        capacity = (await few.measure())["per_second"]
        crowd = (await many.measure())["per_second"]
        return {
            "capacity_per_second": capacity,
            "crowd_per_second": crowd,
            "crowd_share": crowd / capacity,
        }

    return Contender(floors.NAME, Kind.FLOOR, measured)


def _ours(context: Context, stand: Stand, service: Program) -> Contender:
    async def measured() -> Round:
        sale = await stand.fresh_sale()
        what = stand.purchases(sale, stand.buyers(BUYERS), service.port)
        capacity = await capacity_per_second(context, what, service.pid, stand.store.pid)
        crowded = replace(context, connections=CONNECTIONS)
        crowd = await capacity_per_second(crowded, what, service.pid, stand.store.pid)
        sending = asyncio.create_task(_overload(context, what, capacity))
        memory = []
        while not sending.done():
            memory.append(resident_bytes(service.pid))
            await asyncio.wait({sending}, timeout=0.2)
        done = sending.result()
        context.say(f"    {done.outcomes}")
        half = memory[len(memory) // 2 :]
        goodput = done.accepted / (done.last_answer_at - done.start_at)
        offered = done.sent + done.unsent
        return {
            "capacity_per_second": capacity,
            "crowd_per_second": crowd,
            "crowd_share": crowd / capacity,
            "goodput_per_second": goodput,
            "goodput_share": goodput / capacity,
            "goodput_of_crowd": goodput / crowd,
            "unsent_share": done.unsent / offered,
            "refused_share": 1 - done.accepted / max(1, done.sent),
            "accepted_p50_ms": done.accepted_p50_ms,
            "accepted_p99_ms": done.accepted_p99_ms,
            "accepted_max_ms": done.accepted_p100_ms,
            "memory_growth_mb": (max(half[len(half) // 2 :]) - half[0]) / MEGABYTE,
            "untyped": done.untyped,
            "without_retry_after": done.without_retry_after,
        }

    return Contender(NAME, Kind.OURS, measured)


async def _overload(context: Context, what: Purchases, capacity: float) -> Scheduled:
    return await send_on_schedule(
        context,
        what,
        count=int(capacity * TIMES * context.overload_seconds),
        connections=CONNECTIONS,
        over_seconds=context.overload_seconds,
    )
