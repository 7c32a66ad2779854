"""What is told of the outbox."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WAITING = Gauge("flashorder_outbox_waiting_events", "Events that are not processed yet")
OLDEST_SECONDS = Gauge(
    "flashorder_outbox_oldest_seconds", "Age of the oldest event that is not processed yet"
)
PROCESSED = Counter(
    "flashorder_outbox_processed_events", "Events that every handler has done", ["topic"]
)
FAILED = Counter(
    "flashorder_outbox_failed_attempts", "Attempts at an event that a handler refused", ["topic"]
)
