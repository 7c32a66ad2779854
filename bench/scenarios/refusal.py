"""A sold-out refusal: what it costs the web worker, beside the application that does nothing.

The sale has one unit, which is bought first. Then every purchase of 20,000 remembered buyers is
answered with 409 `sold_out`, everything on. The floor answers the same requests with a constant.
The ratio is worker µs a refusal against the floor's worker µs, within each turn.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from bench.context import Context
from bench.figures import Contender, Kind, Outcome, Round, in_turn, kinds_of, ratio_claim
from bench.floors import running as floors
from bench.load.wrk import Purchases
from bench.processes import Program
from bench.scenarios.purchase import BUYERS, floor_contender
from bench.stand import Stand, open_stand
from bench.web import buy_once, http_round

TITLE = "a sold-out refusal"
OURS = "flashorder, sold out"


async def measure(context: Context) -> Outcome:
    """Floor and ours in turn."""
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        floor = await stack.enter_async_context(floors.floor_application(context))
        service = await stack.enter_async_context(stand.service(context.python))
        contenders = [floor_contender(context, floor, stand), _ours(context, stand, service)]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = ratio_claim(series, "worker_us", OURS, floors.NAME, limit=0.9)
    return Outcome("refusal", TITLE, "worker_us", series, kinds_of(contenders), claims)


def _ours(context: Context, stand: Stand, service: Program) -> Contender:
    buyers = stand.buyers(BUYERS)

    async def measured() -> Round:
        what: Purchases = stand.purchases(await stand.fresh_sale(1), buyers, service.port)
        await buy_once(what)
        return await http_round(
            context, what, worker=service.pid, store=stand.store.pid, counted="refused"
        )

    return Contender(OURS, Kind.OURS, measured)
