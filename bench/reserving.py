"""Orders put into the store through its own script: a floor, and the past that others stand on."""

from __future__ import annotations

import json
from dataclasses import dataclass

from bench.accounting import cpu_seconds
from bench.context import Context
from bench.processes import ProgramFailed, run_to_end
from bench.stand import Sale, Stand

TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Reserved:
    """``seconds`` of sending, ``store_seconds`` of the store's CPU."""

    orders: int
    seconds: float
    store_seconds: float


async def reserve_orders(
    context: Context,
    stand: Stand,
    sale: Sale,
    orders: int,
    *,
    batch: int = 256,
    window: int = 2,
    on_server: bool = True,
) -> Reserved:
    """Make ``orders`` of as many buyers; the caller of the script runs where the server would."""
    plan = {
        "url": stand.store.socket_url,
        "sale_id": str(sale.sale_id),
        "sku": sale.sku,
        "generation": 1,
        "orders": orders,
        "batch": batch,
        "window": window,
    }
    before = cpu_seconds(stand.store.pid)
    out = await run_to_end(
        [context.python, "-m", "bench.floors.reserve", json.dumps(plan)],
        cores=context.cores.server if on_server else context.cores.load,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    used = cpu_seconds(stand.store.pid) - before
    said = json.loads(out)
    if said["accepted"] != orders:
        raise ProgramFailed(f"{said['accepted']} of {orders} orders were accepted")
    return Reserved(orders, said["seconds"], used)
