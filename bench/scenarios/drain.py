"""The stream into PostgreSQL, beside the raw insert of the order rows alone.

Ours: a stream of orders that lua/reserve.lua has accepted, then one `flashorder consume` on the
processor that the web worker would have: order, line, event, stock guard, outbox, acknowledgement.
Floors, from one asyncpg connection on that same processor, as many rows a statement as the consumer
has at most: the order rows alone into a table like `orders` with all of its indexes and checks, and
into one with a primary key only. The database runs with the load, durable, as `flashorder up`
starts it. Before each round the tables are emptied.

The rate counts from the first rows to the last, so starting up is in neither. The ratio is ours
against the floor with the same indexes; that against the bare table is told too.
"""

from __future__ import annotations

import json

from bench.accounting import Meter
from bench.context import Context
from bench.draining import drain
from bench.figures import Contender, Kind, Outcome, Round, in_turn, kinds_of, ratio_claim
from bench.processes import run_to_end
from bench.reserving import reserve_orders
from bench.stand import Stand, open_stand
from flashorder.settings import Settings

TITLE = "the stream into PostgreSQL"
OURS = "flashorder consume"
FLOOR = "raw unnest insert, same indexes"
BARE = "raw unnest insert, primary key only"
BATCH: int = Settings.model_fields["consumer_batch_entries_max"].default
ORDERS_PER_SECOND = 20_000
TABLES = {FLOOR: "bench_orders", BARE: "bench_orders_bare"}
EMPTIED = "orders, order_lines, order_events, outbox, bench_orders, bench_orders_bare"


async def measure(context: Context) -> Outcome:
    """Floors and ours in turn."""
    orders = int(ORDERS_PER_SECOND * context.seconds)
    async with open_stand(context.place("stand"), context.cores) as stand:
        await stand.pool.execute("CREATE TABLE bench_orders (LIKE orders INCLUDING ALL)")
        await stand.pool.execute("CREATE TABLE bench_orders_bare (LIKE orders INCLUDING DEFAULTS)")
        await stand.pool.execute("ALTER TABLE bench_orders_bare ADD PRIMARY KEY (order_id)")
        contenders = [
            Contender(BARE, Kind.FLOOR, _Raw(context, stand, BARE, orders)),
            Contender(FLOOR, Kind.FLOOR, _Raw(context, stand, FLOOR, orders)),
            Contender(OURS, Kind.OURS, _Drained(context, stand, orders)),
        ]
        series = await in_turn(contenders, context.rounds, context.say)
    claims = ratio_claim(series, "per_second", OURS, FLOOR, limit=0.5, at_least=True)
    claims += ratio_claim(series, "per_second", OURS, BARE)
    notes = [
        f"{orders:,} orders a round",
        "the drain must not be below `per_second` of flashorder in scenario purchase",
    ]
    return Outcome("drain", TITLE, "per_second", series, kinds_of(contenders), claims, notes)


async def empty_tables(stand: Stand) -> None:
    """No orders, no dead rows, nothing left to be written for former rounds."""
    await stand.pool.execute(f"TRUNCATE {EMPTIED} CASCADE")
    await stand.pool.execute("CHECKPOINT")


class _Raw:
    def __init__(self, context: Context, stand: Stand, name: str, orders: int) -> None:
        self._context, self._stand, self._name, self._orders = context, stand, name, orders

    async def __call__(self) -> Round:
        await empty_tables(self._stand)
        plan = {
            "url": self._stand.database.url,
            "table": TABLES[self._name],
            "orders": self._orders,
            "batch": BATCH,
        }
        meter = Meter({"database": [self._stand.database.pid]})
        out = await run_to_end(
            [self._context.python, "-m", "bench.floors.insert", json.dumps(plan)],
            cores=self._context.cores.server,
            timeout_seconds=300.0,
        )
        database_seconds, said = meter.used_seconds()["database"], json.loads(out)
        assert said["rows"] == self._orders, "nothing conflicts in an empty table"
        return {
            "per_second": self._orders / said["seconds"],
            "client_us": said["cpu_seconds"] / self._orders * 1e6,
            "database_us": database_seconds / self._orders * 1e6,
        }


class _Drained:
    def __init__(self, context: Context, stand: Stand, orders: int) -> None:
        self._context, self._stand, self._orders = context, stand, orders

    async def __call__(self) -> Round:
        await empty_tables(self._stand)
        sale = await self._stand.fresh_sale(per_buyer_limit=1)
        await reserve_orders(self._context, self._stand, sale, self._orders)
        done = await drain(self._context, self._stand, sale, self._orders)
        return {
            "per_second": done.rows_timed / done.seconds,
            "client_us": done.consumer_seconds / done.rows_timed * 1e6,
            "database_us": done.database_seconds / done.rows_timed * 1e6,
        }
