"""Sales in PostgreSQL: rows in, rows out. What may happen when is the services' to know."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from flashorder.infra.postgres.pool import Connection, Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.sales.model import DraftItem, Sale, SaleDraft, SaleItem, SaleStatus, TopUp

SQL = load_sql("flashorder.sales")


async def insert_draft(
    connection: Connection,
    sale_id: uuid.UUID,
    draft: SaleDraft,
    payment_window_seconds: int,
    request_id: uuid.UUID | None,
) -> bool:
    """Write a draft with its items; False when its end has passed, or the request made its sale."""
    row = await connection.fetchrow(
        SQL["insert_sale"],
        sale_id,
        draft.title,
        draft.items[0].unit_price.currency,
        draft.starts_at,
        draft.ends_at,
        payment_window_seconds,
        request_id,
    )
    if row is None:
        return False
    items: Sequence[DraftItem] = draft.items
    await connection.execute(
        SQL["insert_items"],
        sale_id,
        [item.sku for item in items],
        [item.unit_price.amount for item in items],
        [item.per_buyer_limit for item in items],
        [item.quantity for item in items],
    )
    return True


async def read_sales(pool: Pool, sale_ids: Sequence[uuid.UUID]) -> list[Sale]:
    """The sales that there are among ``sale_ids``, newest first."""
    with database_failures():
        rows = await pool.fetch(SQL["read_sales"], list(sale_ids))
    return [_sale(row) for row in rows]


async def page_of_sales(
    pool: Pool, status: SaleStatus | None, before: uuid.UUID | None, limit: int
) -> list[Sale]:
    """Sales of a status, newest first, those older than ``before``."""
    with database_failures():
        rows = await pool.fetch(SQL["page_of_sales"], status, before, limit)
    return await read_sales(pool, [row["sale_id"] for row in rows])


async def unapplied_top_ups(pool: Pool, sale_id: uuid.UUID | None, limit: int) -> list[TopUp]:
    """Top-ups of a sale (None: of every one) that the front may not have yet, oldest first."""
    with database_failures():
        rows = await pool.fetch(SQL["unapplied_top_ups"], sale_id, limit)
    return [TopUp(**dict(row)) for row in rows]


async def read_top_up(pool: Pool, top_up_id: uuid.UUID) -> TopUp | None:
    """One top-up."""
    with database_failures():
        row = await pool.fetchrow(SQL["read_top_up"], top_up_id)
    return None if row is None else TopUp(**dict(row))


def _sale(row: Any) -> Sale:
    fields = dict(row)
    fields["status"] = SaleStatus(fields["status"])
    fields["items"] = tuple(SaleItem(**item) for item in fields["items"] or ())
    return Sale(**fields)
