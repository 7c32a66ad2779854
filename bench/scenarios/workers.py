"""Two web workers against one, beside two processes of the do-nothing application against one.

Both with SO_REUSEPORT; purchases of 20,000 remembered buyers. The claim is that our rate grows with
the second worker at least 0.9 times as much as the floor's does. That needs two processors for the
servers and one for the load: on a smaller machine the processes are crowded on what there is, the
figures are told with that word, and nothing is claimed of them.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from bench.context import Context
from bench.figures import Claim, Contender, Kind, Outcome, Round, Series, in_turn, kinds_of
from bench.floors import running as floors
from bench.processes import Program
from bench.scenarios.purchase import BUYERS, floor_contender
from bench.stand import Stand, open_stand
from bench.web import http_round

TITLE = "two workers against one"
AS_FLOOR_MIN = 0.9


async def measure(context: Context) -> Outcome:
    """Floor and ours, one and two, in turn; a service of each kind runs at a time of its own."""
    crowded = len(context.cores.server) < 2
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        contenders = []
        for count in (1, 2):
            floor = await stack.enter_async_context(floors.floor_application(context, count))
            contenders.append(
                floor_contender(context, floor, stand, name=f"{floors.NAME}, {count}")
            )
        for count in (1, 2):
            name = f"flashorder, {count}"
            service = await stack.enter_async_context(
                stand.service(context.python, name=name, workers=count)
            )
            contenders.append(_ours(context, stand, service, name))
        series = await in_turn(contenders, context.rounds, context.say)
    notes = ["crowded: fewer than three processors, so nothing is claimed"] if crowded else []
    limit = None if crowded else AS_FLOOR_MIN
    claims = [Claim("gain of ours / gain of the floor", _gains(series), limit, at_least=True)]
    return Outcome("workers", TITLE, "per_second", series, kinds_of(contenders), claims, notes)


def _gains(series: Series) -> tuple[float, ...]:
    ours = series.ratios("per_second", "flashorder, 2", "flashorder, 1")
    floor = series.ratios("per_second", f"{floors.NAME}, 2", f"{floors.NAME}, 1")
    return tuple(a / b for a, b in zip(ours, floor, strict=True))


def _ours(context: Context, stand: Stand, service: Program, name: str) -> Contender:
    buyers = stand.buyers(BUYERS)

    async def measured() -> Round:
        what = stand.purchases(await stand.fresh_sale(), buyers, service.port)
        # With two, the meter counts the workers and the process that watches over them.
        return await http_round(context, what, worker=service.pid, store=stand.store.pid)

    return Contender(name, Kind.OURS, measured)
