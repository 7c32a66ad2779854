"""The store at saturation under `appendfsync always`: CPU µs and bytes an order.

lua/reserve.lua is called straight, with the commands encoded beforehand and the next batch always
waiting, at batches of 1, 16, 64 and 256 purchases of distinct buyers. The caller runs where the web
worker would. `store_us` is the store's CPU an accepted order; `store_busy` its CPU over the seconds
of sending, which tells whether it was saturated (below 1 it waited for the disk).

Bytes an order are the store's growth of used memory over a million orders of distinct buyers (all
keys: buyers, tokens, stream), once: it is a count, not a measurement. The claim on µs is that of
the batch of 256.
"""

from __future__ import annotations

from bench.context import Context
from bench.figures import Claim, Contender, Kind, Outcome, Round, in_turn, kinds_of, ratio_claim
from bench.reserving import reserve_orders
from bench.stand import Stand, open_stand

TITLE = "the store at saturation"
BATCHES = (1, 16, 64, 256)
# A batch of one waits for the disk each time, so it gets fewer orders for its seconds.
ORDERS_PER_SECOND = {1: 4_000, 16: 20_000, 64: 40_000, 256: 60_000}
STORE_US_MAX = 8.0
BYTES_MAX = 260.0


async def measure(context: Context) -> Outcome:
    """The batches in turn, then the memory."""
    async with open_stand(context.place("stand"), context.cores) as stand:
        contenders = [
            Contender(f"batch of {batch}", Kind.FLOOR, _Measured(context, stand, batch))
            for batch in BATCHES
        ]
        series = await in_turn(contenders, context.rounds, context.say)
        order_bytes = await _bytes_an_order(context, stand, context.orders_behind)
    best, one = contenders[-1].name, contenders[0].name
    claims = [
        Claim(f"store_us: {best}", tuple(series.values(best, "store_us")), STORE_US_MAX),
        Claim("bytes an order, all keys", (order_bytes,), BYTES_MAX),
        *ratio_claim(series, "store_us", one, best),
    ]
    notes = [f"bytes are those of {context.orders_behind:,} orders of as many buyers"]
    return Outcome("store", TITLE, "store_us", series, kinds_of(contenders), claims, notes)


class _Measured:
    """A round at one batch size."""

    def __init__(self, context: Context, stand: Stand, batch: int) -> None:
        self._context, self._stand, self._batch = context, stand, batch

    async def __call__(self) -> Round:
        sale = await self._stand.fresh_sale(per_buyer_limit=1)
        orders = int(ORDERS_PER_SECOND[self._batch] * self._context.seconds)
        done = await reserve_orders(self._context, self._stand, sale, orders, batch=self._batch)
        return {
            "store_us": done.store_seconds / orders * 1e6,
            "per_second": orders / done.seconds,
            "store_busy": done.store_seconds / done.seconds,
        }


async def _bytes_an_order(context: Context, stand: Stand, orders: int) -> float:
    sale = await stand.fresh_sale(per_buyer_limit=1)
    before = (await stand.redis.info("memory"))["used_memory_dataset"]
    await reserve_orders(context, stand, sale, orders)
    after = (await stand.redis.info("memory"))["used_memory_dataset"]
    return float(after - before) / orders
