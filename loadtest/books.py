"""What both stores and the provider's books say in the end, read without the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
from redis.asyncio import Redis

from flashorder.infra.redis.keys import sale_keys


@dataclass(frozen=True, slots=True)
class Books:
    """Units and minor units of money of one sale."""

    order_ids: frozenset[str]
    live_units: int
    live_statuses: dict[str, int]
    cancelled_orders: int
    most_of_a_buyer: int
    paid_amount: int
    in_stock: int
    captured_amount: int
    refunded_amount: int


_ORDERS = """
SELECT o.order_id::text, o.status, o.buyer_id, o.total_amount, o.paid_at IS NOT NULL AS paid,
       line.sku, line.quantity
FROM orders AS o
JOIN order_lines AS line USING (order_id)
WHERE o.sale_id = $1
"""


async def read_books(session: aiohttp.ClientSession, state: dict[str, Any], sale_id: str) -> Books:
    """Read PostgreSQL, Redis and the payment simulator's ledger."""
    sale = UUID(sale_id)
    connection = await asyncpg.connect(state["database_url"])
    try:
        rows = await connection.fetch(_ORDERS, sale)
    finally:
        await connection.close()
    async with Redis.from_url(state["redis_url"]) as redis:
        stock = await redis.hgetall(sale_keys(0, sale).stock)
    async with session.get(f"{state['simulator_url']}/ledger") as response:
        totals = (await response.json())["totals"].get("GBP", {})
    live = [row for row in rows if row["status"] != "cancelled"]
    held: dict[tuple[UUID, str], int] = {}
    statuses: dict[str, int] = {}
    for row in live:
        item = (row["buyer_id"], row["sku"])
        held[item] = held.get(item, 0) + row["quantity"]
        statuses[row["status"]] = statuses.get(row["status"], 0) + 1
    return Books(
        order_ids=frozenset(row["order_id"] for row in rows),
        live_units=sum(row["quantity"] for row in live),
        live_statuses=statuses,
        cancelled_orders=len(rows) - len(live),
        most_of_a_buyer=max(held.values(), default=0),
        paid_amount=sum(row["total_amount"] for row in live if row["paid"]),
        in_stock=sum(int(units) for units in stock.values()),
        captured_amount=totals.get("captures", {}).get("amount", 0),
        refunded_amount=totals.get("refunds", {}).get("amount", 0),
    )
