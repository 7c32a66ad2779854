"""What is told of the consumer."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class ConsumerMetrics:
    """The consumer's families in ``registry``: one instance a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag_entries = Gauge(
            "flashorder_consumer_lag_entries",
            "Entries of the stream that are not acknowledged yet",
            ["shard"],
            registry=registry,
        )
        self.batch_entries = Histogram(
            "flashorder_consumer_batch_entries",
            "Entries in a batch",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "flashorder_consumer_batch_seconds",
            "From a batch in hand to its commit",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30),
            registry=registry,
        )
        self.applied_orders = Counter(
            "flashorder_consumer_applied_orders", "Orders written", registry=registry
        )
        self.dead_letters = Counter(
            "flashorder_consumer_dead_letters", "Entries put aside", registry=registry
        )
        self.retries = Counter(
            "flashorder_consumer_retries",
            "Batches tried again because the database was away",
            registry=registry,
        )
        self.applied_age_seconds = Gauge(
            "flashorder_consumer_applied_age_seconds",
            "From acceptance to commit, of the oldest entry in the last batch",
            ["shard"],
            registry=registry,
        )
