"""Reading orders: one's own, and the staff's search."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from flashorder.infra.postgres.pool import Connection, Pool, reading
from flashorder.kernel.errors import DatabaseUnavailable, NotFound, TooEarly
from flashorder.orders.model import ACCEPTED
from flashorder.orders.store import SQL
from flashorder.orders.views import (
    OrderView,
    StaffOrderView,
    accepted_view,
    buyer_event_view,
    event_view,
    order_view,
    staff_order_view,
)
from flashorder.reservations.ports import AcceptedPurchases


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """What to look for; None does not filter. ``before_id`` is where the last page ended."""

    buyer_id: uuid.UUID | None = None
    status: str | None = None
    kind: str | None = None
    sale_id: uuid.UUID | None = None
    sku: str | None = None
    order_number: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """``version`` is that of the timeline's last event; 0 while only the front knows the order."""

    status: str
    version: int


class OrderQueries:
    """PostgreSQL first; what is not there yet, or cannot be asked for, from the front's memory."""

    def __init__(self, pool: Pool, accepted: AcceptedPurchases) -> None:
        self._pool = pool
        self._accepted = accepted

    async def own(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> OrderView:
        """The buyer's order with its timeline.

        Raises ``NotFound`` for an order that is not there or is somebody else's,
        ``DatabaseUnavailable`` when PostgreSQL is away and the front does not know it, and
        ``StoreUnavailable`` when it may be what the front has lost.
        """
        try:
            found = await self._with_timeline(order_id)
        except DatabaseUnavailable:
            purchase = await self._accepted.find(order_id, buyer_id)
            if purchase is None:
                raise
            return accepted_view(purchase)
        if found is None:
            return await self._accepted_only(order_id, buyer_id)
        row, events = found
        if row["buyer_id"] != buyer_id:
            raise NotFound(code="order_not_found")
        seen = (buyer_event_view(event) for event in events)
        return order_view(row, (event for event in seen if event is not None))

    async def read_any(self, order_id: uuid.UUID) -> StaffOrderView:
        """Any order, for the staff."""
        found = await self._with_timeline(order_id)
        if found is None:
            raise NotFound(code="order_not_found")
        row, events = found
        return staff_order_view(row, [event_view(event) for event in events])

    async def progress_of_own(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> Progress:
        """How far the buyer's order has come; raises like ``own``."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(SQL["owner_of"], order_id)
        if row is None:
            await self._accepted_only(order_id, buyer_id)
            return Progress(ACCEPTED, 0)
        if row["buyer_id"] != buyer_id:
            raise NotFound(code="order_not_found")
        return Progress(row["status"], row["version"])

    async def check_missing(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> None:
        """Of an order that was not found to act on: raise why, if it is not simply not there.

        ``TooEarly`` ``order_not_ready`` for one that is accepted and not written yet; else like
        ``own``.
        """
        await self.progress_of_own(order_id, buyer_id)
        raise TooEarly(
            "the order is accepted and not written yet: come again",
            code="order_not_ready",
            retry_after_seconds=1.0,
        )

    async def list_own(self, wanted: OrderFilter, orders_max: int) -> list[OrderView]:
        """A page of the buyer's orders, newest first, without timelines."""
        assert wanted.buyer_id is not None, "a buyer sees no other orders than their own"
        found = (
            wanted.buyer_id,
            wanted.status,
            wanted.kind,
            wanted.created_after,
            wanted.before_id,
            orders_max,
        )
        return [order_view(row) for row in await self._found("find_own", *found)]

    async def search(self, wanted: OrderFilter, orders_max: int) -> list[StaffOrderView]:
        """A page of all orders, newest first, without timelines."""
        found = (
            wanted.buyer_id,
            wanted.status,
            wanted.kind,
            wanted.created_after,
            wanted.created_before,
            wanted.sale_id,
            wanted.sku,
            wanted.order_number,
            wanted.before_id,
            orders_max,
        )
        return [staff_order_view(row) for row in await self._found("find_any", *found)]

    async def events_since(self, known: Sequence[tuple[uuid.UUID, int]]) -> list[asyncpg.Record]:
        """Rows of the timelines of many orders, each from behind its known version on."""
        async with reading(self._pool) as connection:
            return await _events_since(connection, known)

    async def _accepted_only(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> OrderView:
        purchase = await self._accepted.find(order_id, buyer_id)
        if purchase is None:
            raise NotFound(code="order_not_found")
        return accepted_view(purchase)

    async def _with_timeline(
        self, order_id: uuid.UUID
    ) -> tuple[asyncpg.Record, list[asyncpg.Record]] | None:
        """The order and its timeline as far as the row goes: what came since would not agree."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(SQL["read_orders"], [order_id])
            if row is None:
                return None
            events = await _events_since(connection, [(order_id, 0)])
        return row, [event for event in events if event["version"] <= row["version"]]

    async def _found(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with reading(self._pool) as connection:
            ids = [row["order_id"] for row in await connection.fetch(SQL[statement], *arguments)]
            return await connection.fetch(SQL["read_orders"], ids) if ids else []


async def _events_since(
    connection: Connection, known: Sequence[tuple[uuid.UUID, int]]
) -> list[asyncpg.Record]:
    return await connection.fetch(
        SQL["read_events"], [order for order, _ in known], [last for _, last in known]
    )
