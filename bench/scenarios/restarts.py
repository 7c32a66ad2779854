"""Purchases while the workers are replaced: not one may fail.

Two workers of the service, everything on, under two loads at once: wrk on connections that it keeps
and wrk with a new connection for each purchase. Meanwhile the workers are replaced over and over:
all of them by SIGHUP to their parent, then one by a SIGTERM of its own, and so on. wrk counts what
it did not get: connections refused or reset, answers cut off, time-outs, and answers above 399; it
repeats nothing. A round lasts four times ``--seconds``.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace

import psutil

from bench.context import Context
from bench.figures import Claim, Contender, Kind, Outcome, Round, in_turn, kinds_of
from bench.load.wrk import drive
from bench.processes import Program
from bench.scenarios.purchase import BUYERS
from bench.stand import Stand, open_stand

TITLE = "purchases while workers are replaced"
NAME = "flashorder"
WORKERS = 2
SECONDS_TIMES = 4
POLL_SECONDS = 0.02
# Of a worker that holds on to what is in flight; its parent allows for more.
REPLACED_WITHIN_SECONDS = 60.0


async def measure(context: Context) -> Outcome:
    """All rounds on one service, whose workers are never those of the round before."""
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        service = await stack.enter_async_context(stand.service(context.python, workers=WORKERS))
        contenders = [_ours(context, stand, service)]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = [
        Claim("failures, the most in a round", (max(series.values(NAME, "failed")),), 0.0),
        Claim("workers replaced, all rounds", (sum(series.values(NAME, "replaced")),),
              float(context.rounds * WORKERS), at_least=True),
        Claim("the longest answer, ms", (max(series.values(NAME, "longest_ms")),)),
    ]  # fmt: skip
    return Outcome("restarts", TITLE, "longest_ms", series, kinds_of(contenders), claims)


def _ours(context: Context, stand: Stand, service: Program) -> Contender:
    buyers = stand.buyers(BUYERS)

    async def measured() -> Round:
        kept = stand.purchases(await stand.fresh_sale(), buyers, service.port)
        seconds = SECONDS_TIMES * context.seconds
        cores = context.cores.load
        await drive(
            kept, seconds=context.warm_seconds, connections=context.connections, cores=cores
        )
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            restarting = group.create_task(_replace(service.pid, over))
            loads = [
                group.create_task(
                    drive(each, seconds=seconds, connections=connections, cores=cores)
                )
                for each, connections in (
                    (kept, context.connections),
                    (replace(kept, closing=True), max(1, context.connections // 4)),
                )
            ]
            await asyncio.wait(loads)
            over.set()
        return {
            "requests": sum(each.result().requests for each in loads),
            "replaced": restarting.result(),
            "failed": sum(each.result().broken + each.result().refused for each in loads),
            "longest_ms": max(each.result().max_ms for each in loads),
        }

    return Contender(NAME, Kind.OURS, measured)


async def _replace(parent_pid: int, over: asyncio.Event) -> int:
    """Replace workers until it is ``over``; how many have been."""
    replaced = 0
    while not over.is_set():
        for number, pids in ((signal.SIGHUP, [parent_pid]), (signal.SIGTERM, None)):
            workers = _workers(parent_pid)
            told = pids or [min(workers)]
            leaving = workers if pids else set(told)
            for pid in told:
                os.kill(pid, number)
            async with asyncio.timeout(REPLACED_WITHIN_SECONDS):
                while (now := _workers(parent_pid)) & leaving or len(now) < WORKERS:  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
            replaced += len(leaving)
    return replaced


def _workers(parent_pid: int) -> set[int]:
    return {each.pid for each in psutil.Process(parent_pid).children()}
