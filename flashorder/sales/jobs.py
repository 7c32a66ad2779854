"""What runs by itself: keeping the front in step, and following the clock."""

from __future__ import annotations

from flashorder.infra.jobs import Job
from flashorder.sales.service import SalesService
from flashorder.settings import Settings

SETTLE_INTERVAL_SECONDS = 60.0


def jobs(service: SalesService, settings: Settings) -> list[Job]:
    """The jobs of sales; each is safe to run in several workers at once."""
    convergence = service.convergence
    seconds = settings.sale_sync_seconds
    return [
        Job("sales_clock", seconds, convergence.follow_the_clock),
        Job("sales_push", seconds, convergence.push_unsynced),
        Job("sales_top_ups", seconds, convergence.push_top_ups),
        Job("sales_settle", SETTLE_INTERVAL_SECONDS, service.settling.settle_closed),
        Job("sales_late_units", 10 * seconds, service.settling.return_late_units),
    ]
