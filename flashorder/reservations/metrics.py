"""What somebody would watch of the hot path."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram

from flashorder.reservations.records import HonourCode, ReserveCode


class ReserveMetrics:
    """The families of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.verdicts = prometheus_client.Counter(
            "flashorder_reserve_verdicts",
            "Purchases decided by the store, by code.",
            ["code"],
            registry=registry,
        )
        self.by_code = {code: self.verdicts.labels(code.name.lower()) for code in ReserveCode}
        self.batch_purchases = Histogram(
            "flashorder_reserve_batch_purchases",
            "Purchases a batch.",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        )
        self.batch_seconds = Histogram(
            "flashorder_reserve_batch_seconds",
            "Time from sending a batch to its answer, fsync included.",
            registry=registry,
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
        )
        self.waiting = Gauge(
            "flashorder_reserve_waiting", "Purchases waiting for a batch.", registry=registry
        )
        self.store_up = Gauge(
            "flashorder_store_up", "1 while the store answers, else 0.", registry=registry
        )
        self.refused = prometheus_client.Counter(
            "flashorder_reserve_refused",
            "Purchases refused before the store was asked, by reason.",
            ["reason"],
            registry=registry,
        )
        self.receipts_presented = prometheus_client.Counter(
            "flashorder_receipts_presented",
            "Receipts of lost purchases that were presented, by outcome: honoured, known (it was "
            "not lost, or is here again), invalid, or why not.",
            ["outcome"],
            registry=registry,
        )
        for code in HonourCode:
            self.receipts_presented.labels(code.name.lower())
        self.sold_out_refused = prometheus_client.Counter(
            "flashorder_sold_out_refused",
            "Purchases refused as sold out under a lease, without asking the store.",
            registry=registry,
        )
        self.sold_out_leases = Gauge(
            "flashorder_sold_out_leases",
            "SKUs, by sale and shard, that a lease permits to refuse.",
            registry=registry,
        )
