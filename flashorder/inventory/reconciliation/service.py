"""Run reconciliations, and put right what they found when an operator asks for it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter as Counts
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from flashorder.inventory.reconciliation.model import (
    Correction,
    Reconciliation,
    Verdict,
    correction_quantity,
    judge,
    needs_second,
)
from flashorder.inventory.reconciliation.reading import Reader
from flashorder.inventory.reconciliation.store import ReconciliationStore
from flashorder.kernel.errors import InvalidState
from flashorder.kernel.identifiers import new_id
from flashorder.sales.front import SaleFront

log = structlog.get_logger(__name__)
CORRECTIONS_MAX = 1000
READING_AGE_SECONDS_MAX = 600.0


class ReconciliationMetrics:
    """What Prometheus reads of the reconciliations of this process.

    Alerts ask the worker alone, which runs one after the other: what a web worker found when an
    operator asked stays there until somebody asks that very worker again.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.drift_units = Gauge(
            "flashorder_stock_drift_units",
            "Units that nothing in flight explains, by the last reconciliation",
            registry=registry,
        )
        self.front_missing_items = Gauge(
            "flashorder_front_missing_items",
            "Items of sales that the front has lost, by the last reconciliation",
            registry=registry,
        )
        self.runs = Counter(
            "flashorder_reconciliations",
            "Reconciliations by what they said",
            ["status"],
            registry=registry,
        )
        self._finished_at = time.monotonic()
        age = Gauge(
            "flashorder_reconciliation_age_seconds",
            "Since the last reconciliation finished, or since the start",
            registry=registry,
        )
        age.set_function(lambda: time.monotonic() - self._finished_at)

    def record(self, run: Reconciliation) -> None:
        """One finished run."""
        self.runs.labels(run.status).inc()
        self.drift_units.set(run.drift_units)
        self.front_missing_items.set(run.front_missing_items)
        self._finished_at = time.monotonic()


class ReconciliationService:
    """``agreement_pause_seconds`` lies between the two readings, for what is in flight to land.

    Every method raises ``StoreUnavailable`` or ``DatabaseUnavailable`` when a store is away.
    """

    def __init__(
        self,
        store: ReconciliationStore,
        reader: Reader,
        front: SaleFront,
        metrics: ReconciliationMetrics,
        *,
        agreement_pause_seconds: float = 1.0,
    ) -> None:
        self._store = store
        self._reader = reader
        self._front = front
        self._metrics = metrics
        self._agreement_pause_seconds = agreement_pause_seconds

    async def run(
        self,
        *,
        cause: str,
        requested_by: uuid.UUID | None = None,
        sale_id: uuid.UUID | None = None,
    ) -> Reconciliation:
        """Hold both stores against each other, keep the result, change nothing else."""
        # By the clock that dates corrections as well: one's own may be ahead of it, or behind.
        started_at = await self._store.clock()
        first = await self._reader.read(sale_id)
        second = first
        if needs_second(first):
            await asyncio.sleep(self._agreement_pause_seconds)
            second = await self._reader.read(sale_id)
        run = Reconciliation(
            new_id(),
            cause,
            requested_by,
            started_at,
            started_at,
            tuple(judge(first.get(item), reading) for item, reading in second.items()),
        )
        run = replace(run, finished_at=await self._store.add(run))
        self._tell(run)
        return run

    async def correct(self, reconciliation_id: uuid.UUID) -> list[Correction]:
        """Adjust the front by the drifts that a run found; each is promised here first.

        Called again, it writes nothing new and tells the front again what it may have missed.
        Raises ``NotFound``, and ``InvalidState`` when the run is too old to act on.
        """
        run = await self._store.find(reconciliation_id)
        done = await self._store.corrections_of(reconciliation_id)
        if not done:
            _check_fresh(run, await self._store.clock())
            await self._store.promise(run, _corrections(run))
        await self.finish_corrections()
        return await self._store.corrections_of(reconciliation_id)

    async def finish_corrections(self) -> int:
        """Tell the front every promised correction that it has not answered; how many."""
        waiting = await self._store.unanswered(CORRECTIONS_MAX)
        for each in waiting:
            outcome = await self._front.top_up(
                each.sale_id, each.generation, each.correction_id, each.sku, each.quantity
            )
            await self._store.answer(each, outcome)
            log.warning(
                "stock_corrected",
                sale_id=str(each.sale_id),
                sku=each.sku,
                quantity=each.quantity,
                outcome=outcome,
            )
        return len(waiting)

    async def find(self, reconciliation_id: uuid.UUID) -> tuple[Reconciliation, list[Correction]]:
        """One run with what it led to; raises ``NotFound``."""
        run = await self._store.find(reconciliation_id)
        return run, await self._store.corrections_of(reconciliation_id)

    async def page(self, below: uuid.UUID | None, limit: int) -> list[dict[str, Any]]:
        """Heads of runs, newest first, below a run's id."""
        return await self._store.page(below, limit)

    async def prune(
        self, retention_seconds: float, unbalanced_retention_seconds: float, limit: int
    ) -> int:
        """Forget runs that are old; how many. See sql/prune.sql for which are kept longer."""
        return await self._store.prune(retention_seconds, unbalanced_retention_seconds, limit)

    def _tell(self, run: Reconciliation) -> None:
        self._metrics.record(run)
        for item in run.items:
            if item.verdict is Verdict.DRIFTING:
                log.error(
                    "stock_drift",
                    sale_id=str(item.reading.sale_id),
                    sku=item.reading.sku,
                    verdict=item.verdict,
                    drift_units=item.drift,
                )
        # The front loses a sale as a whole: a line for each of its items would say it no better.
        lost = Counts(
            item.reading.sale_id for item in run.items if item.verdict is Verdict.FRONT_MISSING
        )
        for sale_id, items in lost.items():
            log.error(
                "stock_drift", sale_id=str(sale_id), verdict=Verdict.FRONT_MISSING, items=items
            )


def _corrections(run: Reconciliation) -> list[Correction]:
    return [
        Correction(
            new_id(),
            run.reconciliation_id,
            item.reading.sale_id,
            item.reading.sku,
            item.reading.generation,
            correction_quantity(item),
        )
        for item in run.items
        if correction_quantity(item)
    ]


def _check_fresh(run: Reconciliation, now: datetime) -> None:
    age_seconds = (now - run.finished_at).total_seconds()
    if age_seconds > READING_AGE_SECONDS_MAX:
        raise InvalidState(
            f"this reconciliation is {age_seconds:.0f} s old: run another, and correct that",
            code="reconciliation_stale",
        )
