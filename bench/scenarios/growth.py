"""What an order costs with many orders behind it: store CPU and drain CPU.

Two stands of stores side by side, one with 10 thousand orders behind, the other with as many as
`--orders-behind` says (a million; five for the whole claim, with the time that takes to fill), all
of one sale and drained into PostgreSQL. Then, in turn: 100,000 more orders through lua/reserve.lua
in batches of 64 (store µs an order), and the drain of their second half (consumer and database µs
an order). The small stand is emptied and filled anew each round, so it has 10 to 110 thousand
behind; the large one goes on growing, by as many a round. The ratio is large against small within
each turn.

What is none of the next order's is kept apart. The store rewrites its log after the filling: that
is waited for. The first touch of each index page after a checkpoint is logged whole: the large
stand has one turn before the counted ones. And the consumer's sessions are new each turn and map
the database's memory page by page, more of it where there is more: hence the second half.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from bench.context import Context
from bench.draining import drain
from bench.figures import Contender, Kind, Outcome, Round, in_turn, kinds_of, ratio_claim
from bench.reserving import reserve_orders
from bench.stand import Sale, Stand, open_stand

TITLE = "the cost of an order with many behind it"
FEW = 10_000
MEASURED = 100_000
WARM = MEASURED // 2
BATCH = 64
WITHIN = 1.1
REWRITE_POLL_SECONDS = 0.5
REWRITE_POLLS_MAX = 240


async def measure(context: Context) -> Outcome:
    """Fill the large stand once; then small and large in turn."""
    few, many = f"{FEW:,} behind", f"{context.orders_behind:,} behind"
    async with AsyncExitStack() as stack:
        small = await stack.enter_async_context(open_stand(context.place("small"), context.cores))
        large = await stack.enter_async_context(open_stand(context.place("large"), context.cores))
        context.say(f"  filling with {context.orders_behind:,} orders")
        past = await _Past.filled(context, large, context.orders_behind)
        await past.another()

        async def with_few() -> Round:
            await small.pool.execute("TRUNCATE orders, order_lines, order_events, outbox CASCADE")
            return await (await _Past.filled(context, small, FEW)).another()

        contenders = [
            Contender(few, Kind.FLOOR, with_few),
            Contender(many, Kind.OURS, past.another),
        ]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = []
    for figure in ("store_us", "drain_us", "consumer_us", "database_us"):
        limit = WITHIN if figure in ("store_us", "drain_us") else None
        claims += ratio_claim(series, figure, many, few, limit=limit)
    return Outcome("growth", TITLE, "drain_us", series, kinds_of(contenders), claims)


class _Past:
    """A sale with ``orders`` accepted and drained so far."""

    def __init__(self, context: Context, stand: Stand, sale: Sale, orders: int) -> None:
        self._context, self._stand, self._sale, self._orders = context, stand, sale, orders

    @classmethod
    async def filled(cls, context: Context, stand: Stand, orders: int) -> _Past:
        """A fresh sale with so many orders."""
        sale = await stand.fresh_sale(per_buyer_limit=1)
        await reserve_orders(context, stand, sale, orders)
        await drain(context, stand, sale, orders)
        await stand.pool.execute("VACUUM ANALYZE orders, order_lines, order_events, outbox")
        await stand.pool.execute("CHECKPOINT")
        await _until_log_is_rewritten(stand)
        return cls(context, stand, sale, orders)

    async def another(self) -> Round:
        """``MEASURED`` more, and what they cost once sessions are warm."""
        reserved = await reserve_orders(
            self._context, self._stand, self._sale, MEASURED, batch=BATCH
        )
        self._orders += MEASURED
        done = await drain(self._context, self._stand, self._sale, self._orders, warm_rows=WARM)
        consumer_us = done.consumer_seconds / done.rows_timed * 1e6
        database_us = done.database_seconds / done.rows_timed * 1e6
        return {
            "store_us": reserved.store_seconds / MEASURED * 1e6,
            "drain_us": consumer_us + database_us,
            "consumer_us": consumer_us,
            "database_us": database_us,
            "drained_per_second": done.rows_timed / done.seconds,
        }


async def _until_log_is_rewritten(stand: Stand) -> None:
    """The store's child that writes its log anew shares memory and processor with it."""
    for _ in range(REWRITE_POLLS_MAX):
        told = await stand.redis.info("persistence")
        if not told["aof_rewrite_in_progress"] and not told["aof_rewrite_scheduled"]:
            return
        await asyncio.sleep(REWRITE_POLL_SECONDS)
