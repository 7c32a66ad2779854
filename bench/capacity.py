"""How much the service accepts a second, found just before something is measured against it."""

from __future__ import annotations

from bench.context import Context
from bench.load.wrk import Purchases
from bench.web import http_round


async def capacity_per_second(context: Context, what: Purchases, worker: int, store: int) -> float:
    """Accepted purchases a second with as many connections as configured."""
    figures = await http_round(context, what, worker=worker, store=store)
    return figures["per_second"]
