"""What is told of the consumer."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LAG = Gauge(
    "flashorder_consumer_lag_entries", "Entries of the stream not acknowledged yet", ["shard"]
)
BATCH_ENTRIES = Histogram(
    "flashorder_consumer_batch_entries",
    "Entries in a batch",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
BATCH_SECONDS = Histogram(
    "flashorder_consumer_batch_seconds",
    "From a batch in hand to its commit",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30),
)
APPLIED = Counter("flashorder_consumer_applied_orders", "Orders written to PostgreSQL")
PUT_ASIDE = Counter("flashorder_consumer_dead_letters", "Entries put aside as dead letters")
RETRIES = Counter("flashorder_consumer_retries", "Batches tried again, a store being away")
APPLIED_AGE_SECONDS = Gauge(
    "flashorder_consumer_applied_age_seconds",
    "From acceptance to commit, of the oldest entry in the last batch",
    ["shard"],
)
