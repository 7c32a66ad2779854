"""What is told of payments."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class PaymentMetrics:
    """The payments' families in ``registry``: one instance a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.mismatched_reports = Counter(
            "flashorder_payments_mismatched_reports",
            "Reports of a provider whose amount or currency is not that of our books",
            registry=registry,
        )
        self.refunds_to_decide = Gauge(
            "flashorder_payments_refunds_to_decide",
            "Refunds that the provider refused to the last attempt: each needs a person",
            registry=registry,
        )
