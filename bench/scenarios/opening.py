"""The opening: 5,000 connections fire within 100 ms of it, at 1,000 units.

The connections are open and idle before the sale starts; each carries one purchase of another
buyer, evenly over the 100 ms from `starts_at` on. Nothing is warmed up, and no token was seen
before. Told are the acceptances, which must be the units; failures without a code or an answer,
which must be none; and the time from the opening to the last answer.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from itertools import count

from bench.context import Context
from bench.figures import Claim, Contender, Kind, Outcome, Round, in_turn, kinds_of
from bench.load.scheduled import send_on_schedule
from bench.processes import Program
from bench.stand import Stand, open_stand

TITLE = "5,000 connections at the opening of 1,000 units"
NAME = "flashorder"
CONNECTIONS = 5_000
UNITS = 1_000
FIRING_SECONDS = 0.1
# For the client to read the tokens and open its connections.
GATHER_SECONDS = 6.0


async def measure(context: Context) -> Outcome:
    """One opening a round."""
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(open_stand(context.place("stand"), context.cores))
        service = await stack.enter_async_context(stand.service(context.python))
        contenders = [_ours(context, stand, service)]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = [
        Claim("sold, the fewest", (min(series.values(NAME, "sold")),), UNITS, at_least=True),
        Claim("sold, the most", (max(series.values(NAME, "sold")),), UNITS),
        Claim("untyped failures, the most", (max(series.values(NAME, "untyped")),), 0.0),
        Claim("connections that fired, the fewest",
              (min(series.values(NAME, "fired")),), CONNECTIONS, at_least=True),
        Claim("last answer, seconds", tuple(series.values(NAME, "last_answer_seconds")), 1.0),
    ]  # fmt: skip
    return Outcome("opening", TITLE, "last_answer_seconds", series, kinds_of(contenders), claims)


def _ours(context: Context, stand: Stand, service: Program) -> Contender:
    numbers = count()

    async def measured() -> Round:
        buyers = stand.buyers(CONNECTIONS, f"opening-{next(numbers)}")
        opens_at = time.time() + GATHER_SECONDS
        sale = await stand.fresh_sale(
            UNITS, per_buyer_limit=1, starts_in_seconds=opens_at - time.time()
        )
        done = await send_on_schedule(
            context,
            stand.purchases(sale, buyers, service.port),
            count=CONNECTIONS,
            connections=CONNECTIONS,
            over_seconds=FIRING_SECONDS,
            # The sale's start is kept in whole milliseconds.
            start_at=opens_at + 0.005,
        )
        context.say(f"    {done.outcomes}")
        return {
            "sold": done.accepted,
            "fired": done.sent,
            "untyped": done.untyped,
            "last_answer_seconds": done.last_answer_at - opens_at,
            "accepted_p99_ms": done.accepted_p99_ms,
        }

    return Contender(NAME, Kind.OURS, measured)
