"""Keeping the outbox small, and telling how it does."""

from __future__ import annotations

from flashorder.infra.jobs import Job
from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.notifications.metrics import OutboxMetrics
from flashorder.notifications.relay import SQL
from flashorder.settings import Settings

EVENTS_PER_ROUND_MAX = 5_000


def jobs(pool: Pool, settings: Settings, metrics: OutboxMetrics) -> list[Job]:
    """Measuring, and removing processed events after ``settings.outbox_retention_seconds``."""
    return [
        Job("outbox.measure", 5.0, lambda: measure(pool, metrics)),
        Job("outbox.prune", 60.0, lambda: prune(pool, settings.outbox_retention_seconds)),
    ]


async def measure(pool: Pool, metrics: OutboxMetrics) -> int:
    """Bring the gauges up to date; nothing follows at once, so it returns 0."""
    with database_failures():
        row = await pool.fetchrow(SQL["measure"])
    assert row is not None, "an aggregate always has a row"
    metrics.waiting_events.set(row["waiting"])
    metrics.oldest_seconds.set(row["oldest_seconds"])
    return 0


async def prune(pool: Pool, older_than_seconds: float) -> int:
    """Remove processed events of that age, a bounded number; returns how many."""
    with database_failures():
        tag = await pool.execute(SQL["prune_processed"], older_than_seconds, EVENTS_PER_ROUND_MAX)
    return int(tag.rpartition(" ")[2])
