"""What is told of shipments."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge


class FulfilmentMetrics:
    """The room's families in ``registry``: one instance a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stuck = Gauge(
            "flashorder_shipments_stuck",
            "Packed shipments that no carrier takes, by whether it refused or does not answer",
            ["why"],
            registry=registry,
        )
