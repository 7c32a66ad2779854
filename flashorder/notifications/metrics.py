"""What is told of the outbox."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class OutboxMetrics:
    """The outbox's families in ``registry``: one instance a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting_events = Gauge(
            "flashorder_outbox_waiting_events",
            "Events that are not processed yet",
            registry=registry,
        )
        self.oldest_seconds = Gauge(
            "flashorder_outbox_oldest_seconds",
            "Age of the oldest event that is not processed yet",
            registry=registry,
        )
        self.processed_events = Counter(
            "flashorder_outbox_processed_events",
            "Events that every handler has done",
            ["topic"],
            registry=registry,
        )
        self.failed_attempts = Counter(
            "flashorder_outbox_failed_attempts",
            "Attempts at an event that a handler refused",
            ["topic"],
            registry=registry,
        )
