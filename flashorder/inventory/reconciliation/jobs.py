"""Reconciliation on its own, every so often."""

from __future__ import annotations

from flashorder.infra.jobs import Job
from flashorder.inventory.reconciliation.service import ReconciliationService
from flashorder.settings import Settings

RETENTION_SECONDS = 86400.0
UNBALANCED_RETENTION_SECONDS = 30 * 86400.0
PRUNE_ROWS_MAX = 500


def jobs(service: ReconciliationService, settings: Settings) -> list[Job]:
    """One reconciliation an interval, corrections that were cut short, and forgetting."""

    async def reconcile() -> int:
        await service.run(cause="timer")
        return 0  # a round is never followed by another at once

    async def prune() -> int:
        return await service.prune(RETENTION_SECONDS, UNBALANCED_RETENTION_SECONDS, PRUNE_ROWS_MAX)

    return [
        Job("reconcile", settings.reconciliation_interval_seconds, reconcile),
        Job("finish_corrections", 10.0, service.finish_corrections),
        Job("prune_reconciliations", 600.0, prune),
    ]
