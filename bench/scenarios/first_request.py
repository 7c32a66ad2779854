"""The first request of a buyer beside a later one, in worker CPU.

Both are accepted purchases of the same service in turn. Remembered: 20,000 buyers whose tokens
the worker has seen in the warm-up. Never seen: each request carries a token that this worker meets
for the first time, signed just before the round; so many are made that none comes twice, and the
round fails if they do not suffice. The ratio is worker µs of the first against the second.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import count

from bench.context import Context
from bench.figures import Contender, Kind, Outcome, Round, in_turn, kinds_of, ratio_claim
from bench.processes import Program, ProgramFailed
from bench.scenarios.purchase import BUYERS
from bench.stand import Stand, open_stand
from bench.web import http_round

TITLE = "the first request of a buyer"
REMEMBERED = "remembered"
NEVER_SEEN = "never seen"
# Above what one processor can answer.
TOKENS_PER_SECOND = 50_000


async def measure(context: Context) -> Outcome:
    """Remembered and never seen in turn."""
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        service = await stack.enter_async_context(stand.service(context.python))
        contenders = [
            _remembered(context, stand, service),
            _never_seen(context, stand, service),
        ]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = ratio_claim(series, "worker_us", NEVER_SEEN, REMEMBERED, limit=1.5)
    return Outcome("first-request", TITLE, "worker_us", series, kinds_of(contenders), claims)


def _remembered(context: Context, stand: Stand, service: Program) -> Contender:
    buyers = stand.buyers(BUYERS)

    async def measured() -> Round:
        what = stand.purchases(await stand.fresh_sale(), buyers, service.port)
        return await http_round(context, what, worker=service.pid, store=stand.store.pid)

    return Contender(REMEMBERED, Kind.FLOOR, measured)


def _never_seen(context: Context, stand: Stand, service: Program) -> Contender:
    numbers = count()
    tokens = int(TOKENS_PER_SECOND * context.seconds)

    async def measured() -> Round:
        # A file of its own each round, and no warm-up, which would use tokens up.
        buyers = stand.buyers(tokens, f"never-seen-{next(numbers)}")
        what = stand.purchases(await stand.fresh_sale(), buyers, service.port)
        figures = await http_round(
            context, what, worker=service.pid, store=stand.store.pid, warm=False
        )
        buyers.unlink()
        if figures["per_second"] * context.seconds > tokens:
            raise ProgramFailed("the tokens did not suffice: raise TOKENS_PER_SECOND")
        return figures

    return Contender(NEVER_SEEN, Kind.OURS, measured)
