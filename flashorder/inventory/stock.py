"""Stock for operators: what there is, why, and how more comes."""

from __future__ import annotations

import uuid
from typing import Any

from flashorder.infra.postgres.pool import Pool, database_failures, transaction
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory import ledger
from flashorder.inventory.model import (
    NO_COUNTS,
    Level,
    Movement,
    MovementKind,
    movement_id_of,
)
from flashorder.kernel.errors import NotFound

_SQL = load_sql("flashorder.inventory")


class Stock:
    """Levels and movements. Every method raises ``DatabaseUnavailable``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def levels(self, *, after: str | None, limit: int) -> list[Level]:
        """Levels by SKU, from behind ``after``."""
        with database_failures():
            rows = await self._pool.fetch(
                _SQL["page_of_levels"], after, None, limit, list(NO_COUNTS)
            )
        return [Level(**dict(row)) for row in rows]

    async def level(self, sku: str) -> Level:
        """The level of one product; ``NotFound`` ``sku_not_found``."""
        with database_failures():
            row = await self._pool.fetchrow(_SQL["page_of_levels"], None, sku, 1, list(NO_COUNTS))
        if row is None:
            raise NotFound("there is no such product", code="sku_not_found")
        return Level(**dict(row))

    async def movements(
        self,
        *,
        before: int | None = None,
        sku: str | None = None,
        kind: MovementKind | None = None,
        reference: str | None = None,
        limit: int = 50,
    ) -> list[Movement]:
        """Entries of the ledger, newest first, those older than entry number ``before``."""
        with database_failures():
            rows = await self._pool.fetch(
                _SQL["page_of_movements"], before, sku, kind, reference, limit
            )
        return [_movement(row) for row in rows]

    async def receive(
        self,
        sku: str,
        quantity: int,
        *,
        cause: str,
        reference: str | None,
        actor: str,
        source: uuid.UUID,
        token: str,
    ) -> Movement:
        """Units came in, once by ``source`` and ``token``. ``NotFound`` ``sku_not_found``."""
        return await self._write(
            MovementKind.RECEIVED, sku, quantity, cause, reference, actor, source, token
        )

    async def adjust(
        self,
        sku: str,
        quantity: int,
        *,
        cause: str,
        reference: str | None,
        actor: str,
        source: uuid.UUID,
        token: str,
    ) -> Movement:
        """A count found ``quantity`` units more, or fewer: negative.

        Once by ``source`` and ``token``. ``Conflict`` ``insufficient_stock`` for fewer than none.
        """
        return await self._write(
            MovementKind.ADJUSTED, sku, quantity, cause, reference, actor, source, token
        )

    async def _write(
        self,
        kind: MovementKind,
        sku: str,
        quantity: int,
        cause: str,
        reference: str | None,
        actor: str,
        source: uuid.UUID,
        token: str,
    ) -> Movement:
        movement_id = movement_id_of(source, kind, sku, token)
        movement = Movement(movement_id, sku, kind, quantity, cause, actor, reference)
        async with transaction(self._pool) as connection:
            await ledger.record(connection, [movement])
            row = await connection.fetchrow(_SQL["read_movement"], movement_id)
        return _movement(row)


def _movement(row: Any) -> Movement:
    return Movement(
        movement_id=row["movement_id"],
        sku=row["sku"],
        kind=MovementKind(row["kind"]),
        quantity=row["quantity"],
        cause=row["cause"],
        actor=row["actor"],
        reference=row["reference"],
        occurred_at=row["occurred_at"],
        entry_no=row["entry_no"],
    )
