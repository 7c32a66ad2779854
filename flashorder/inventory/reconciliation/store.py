"""What runs found and what was put right, kept in PostgreSQL."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import asyncpg

from flashorder.infra.postgres.pool import Pool, database_failures, transaction
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory.reconciliation.model import (
    Correction,
    ItemReading,
    ItemResult,
    Reconciliation,
    Verdict,
)
from flashorder.kernel.errors import NotFound
from flashorder.sales.front import TopUpOutcome

_SQL = load_sql("flashorder.inventory.reconciliation")


class ReconciliationStore:
    """Every method raises ``DatabaseUnavailable`` when the database is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def clock(self) -> datetime:
        """What time it is where all runs and corrections are dated."""
        with database_failures():
            now: datetime = await self._pool.fetchval("SELECT clock_timestamp()")
        return now

    async def add(self, run: Reconciliation) -> datetime:
        """Keep a run and its items; returns when it was finished."""
        readings = [item.reading for item in run.items]
        async with transaction(self._pool) as connection:
            finished_at: datetime = await connection.fetchval(
                _SQL["insert_reconciliation"],
                run.reconciliation_id,
                run.cause,
                run.requested_by,
                run.started_at,
                run.status,
                run.drift_units,
            )
            await connection.execute(
                _SQL["insert_items"],
                run.reconciliation_id,
                [each.sale_id for each in readings],
                [each.sku for each in readings],
                [each.generation for each in readings],
                [str(item.verdict) for item in run.items],
                [each.available for each in readings],
                [each.sold for each in readings],
                [each.applied for each in readings],
                [each.unreleased for each in readings],
                [each.in_stream for each in readings],
                [each.dead_letters for each in readings],
                [each.allotted for each in readings],
                [item.drift for item in run.items],
            )
        return finished_at

    async def find(self, reconciliation_id: uuid.UUID) -> Reconciliation:
        """One run with its items; raises ``NotFound``."""
        with database_failures():
            row = await self._pool.fetchrow(_SQL["find_reconciliation"], reconciliation_id)
            if row is None:
                raise NotFound(code="reconciliation_not_found")
            items = await self._pool.fetch(_SQL["list_items"], reconciliation_id)
        return Reconciliation(
            row["reconciliation_id"],
            row["cause"],
            row["requested_by"],
            row["started_at"],
            row["finished_at"],
            tuple(_item(each) for each in items),
        )

    async def page(self, below: uuid.UUID | None, limit: int) -> list[dict[str, Any]]:
        """Heads of runs, newest first."""
        with database_failures():
            rows = await self._pool.fetch(_SQL["list_reconciliations"], below, limit)
        return [dict(row) for row in rows]

    async def promise(self, run: Reconciliation, corrections: list[Correction]) -> None:
        """Write down what the front is going to be told; what is out of date is left out."""
        async with transaction(self._pool) as connection:
            await connection.execute(_SQL["lock_corrections"])
            for each in corrections:
                await connection.execute(
                    _SQL["promise_correction"],
                    each.correction_id,
                    run.reconciliation_id,
                    each.sale_id,
                    each.sku,
                    each.generation,
                    each.quantity,
                    f"reconciliation: {run.cause}",
                    run.requested_by,
                )

    async def unanswered(self, limit: int) -> list[Correction]:
        """Corrections that were promised and that the front may not have heard of."""
        with database_failures():
            rows = await self._pool.fetch(_SQL["unanswered_corrections"], limit)
        return [Correction(**row) for row in rows]

    async def corrections_of(self, reconciliation_id: uuid.UUID) -> list[Correction]:
        """The corrections that one run led to."""
        with database_failures():
            rows = await self._pool.fetch(_SQL["list_corrections"], reconciliation_id)
        return [Correction(**row) for row in rows]

    async def answer(self, correction: Correction, outcome: TopUpOutcome) -> None:
        """Keep what the front said. Idempotent."""
        # Applied before is applied: the answer to the first call was lost.
        said = TopUpOutcome.APPLIED if outcome is TopUpOutcome.ALREADY_APPLIED else outcome
        with database_failures():
            await self._pool.execute(_SQL["answer_correction"], correction.correction_id, str(said))

    async def prune(
        self, retention_seconds: float, unbalanced_retention_seconds: float, limit: int
    ) -> int:
        """Forget balanced runs that are old, and others that are older; how many."""
        with database_failures():
            status = await self._pool.execute(
                _SQL["prune"], retention_seconds, unbalanced_retention_seconds, limit
            )
        return int(status.rpartition(" ")[2])


def _item(row: asyncpg.Record) -> ItemResult:
    fields = dict(row)
    verdict, drift = Verdict(fields.pop("verdict")), fields.pop("drift")
    reading = ItemReading(**fields, at_front=verdict is not Verdict.FRONT_MISSING)
    return ItemResult(reading, verdict, drift)
