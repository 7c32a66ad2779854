"""The consumer at work on a stream that is full: how long, and whose CPU."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.accounting import Meter
from bench.context import Context
from bench.processes import ProgramFailed, running
from bench.stand import Sale, Stand

POLL_SECONDS = 0.02
TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Drained:
    """``seconds`` from the first row that was there to the last; CPU over the whole drain."""

    orders: int
    rows_timed: int
    seconds: float
    consumer_seconds: float
    database_seconds: float


async def drain(
    context: Context,
    stand: Stand,
    sale: Sale,
    orders: int,
    *,
    warm_rows: int = 0,
    on_first_rows: Callable[[int], None] = lambda pid: None,
) -> Drained:
    """Start one consumer where the web worker would run, and wait for ``orders`` rows.

    Its start (imports, connecting) is in neither time: the meter and the clock begin when the
    first rows are there beside those of before, ``warm_rows`` at least, which ``on_first_rows`` is
    told with the consumer's process id.
    """
    behind = await committed(stand, sale)
    async with running(
        "drain",
        [context.python, "-m", "flashorder.cli", "consume"],
        cores=context.cores.server,
        folder=context.folder,
        environment=stand.environment,
    ) as consumer:
        meter = Meter({"consumer": [consumer.pid], "database": [stand.database.pid]})
        first_rows, began = 0, 0.0
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            rows = await committed(stand, sale)
            now = time.perf_counter()
            if rows > behind + warm_rows and not began:
                first_rows, began = rows, now
                meter.start()
                on_first_rows(consumer.pid)
            if rows >= orders:
                break
            if consumer.process.returncode is not None or time.monotonic() > deadline:
                raise ProgramFailed(f"{rows} of {orders} drained:\n{consumer.last_words()}")
            await asyncio.sleep(POLL_SECONDS)
        used = meter.used_seconds()
    return Drained(orders, orders - first_rows, now - began, used["consumer"], used["database"])


async def committed(stand: Stand, sale: Sale) -> int:
    """Units of the sale's orders: one cheap row, which each batch's transaction raises."""
    units: int = await stand.pool.fetchval(
        "SELECT committed FROM sale_items WHERE sale_id = $1 AND sku = $2", sale.sale_id, sale.sku
    )
    return units
