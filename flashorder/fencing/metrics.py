"""What somebody would watch of the lives of the store."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry


class FencingMetrics:
    """The families of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.verified = prometheus_client.Counter(
            "flashorder_store_verified",
            "Times that a server's data was found to lack nothing, before anything was sold on it.",
            registry=registry,
        )
        self.behind = prometheus_client.Counter(
            "flashorder_store_behind",
            "Times that a server's data was found behind what was told, and its sales fenced.",
            registry=registry,
        )
