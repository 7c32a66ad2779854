"""Prometheus metrics: one registry a process, and a way to read it for every role.

A web worker answers ``/metrics`` itself. Workers share one port, so a scrape of it reaches any one
of them: each sample therefore carries a ``worker`` label, and worker *n* (from 0) also answers on
``metrics_port + n``, where a scraper finds all of them. Other roles answer on ``metrics_port``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from flashorder import __version__

EXPOSITION_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS_BOUNDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class RequestSeries:
    """Counts of one route. Plain numbers, written by one thread: a record costs under half a µs."""

    __slots__ = ("by_status", "in_buckets", "method", "route", "seconds_sum")

    def __init__(self, method: str, route: str) -> None:
        self.method = method
        self.route = route
        self.by_status: defaultdict[int, int] = defaultdict(int)
        self.in_buckets = [0] * (len(SECONDS_BOUNDS) + 1)
        self.seconds_sum = 0.0

    def record(self, status: int, seconds: float) -> None:
        """One request, answered with ``status`` (499: the client had gone)."""
        self.by_status[status] += 1
        self.in_buckets[bisect_left(SECONDS_BOUNDS, seconds)] += 1
        self.seconds_sum += seconds


class RequestMeter(Collector):
    """Requests by route template, never by path: the number of series is that of the routes."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], RequestSeries] = {}
        self._failures: defaultdict[str, int] = defaultdict(int)

    def record_failure(self, code: str) -> None:
        """One answer of 500 or 503; the log has only some of them."""
        self._failures[code] += 1

    def series(self, method: str, route: str) -> RequestSeries:
        """The series of a route, to be recorded into: one, however many serve it."""
        return self._series.setdefault((method, route), RequestSeries(method, route))

    def collect(self) -> Iterator[Metric]:
        """The families as they stand now."""
        counts = CounterMetricFamily(
            "flashorder_http_requests",
            "Requests answered",
            labels=["method", "route", "status"],
        )
        seconds = HistogramMetricFamily(
            "flashorder_http_request_duration_seconds",
            "From the parsed head of a request to its answer",
            labels=["method", "route"],
        )
        failures = CounterMetricFamily(
            "flashorder_http_failures",
            "Requests answered with 500 or 503, by the problem's code",
            labels=["code"],
        )
        for code, count in self._failures.items():
            failures.add_metric([code], count)
        for each in self._series.values():
            if not each.by_status:
                continue
            for status, count in each.by_status.items():
                counts.add_metric([each.method, each.route, str(status)], count)
            buckets, total = [], 0
            for bound, count in zip((*SECONDS_BOUNDS, "+Inf"), each.in_buckets, strict=True):
                total += count
                buckets.append((str(bound), float(total)))
            seconds.add_metric([each.method, each.route], buckets, each.seconds_sum)
        yield counts
        yield failures
        yield seconds


class Metrics:
    """The registry of a process; ``labels`` are added to every sample ("role", "worker")."""

    def __init__(self, **labels: str) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.requests = RequestMeter()
        self._labels = labels
        self.registry.register(self.requests)
        self.registry.register(_Build())
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def add_labels(self, **labels: str) -> None:
        """Add labels to every sample from now on."""
        self._labels.update(labels)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(_Labelled(self.registry, self._labels))


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("flashorder_build", "What runs here", {"version": __version__})


class _Labelled(CollectorRegistry):
    """A registry seen with more labels on each sample."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        super().__init__()
        self._registry = registry
        self._more = dict(labels)

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            if self._more:
                family.samples = [
                    sample._replace(labels={**sample.labels, **self._more})
                    for sample in family.samples
                ]
            yield family


@asynccontextmanager
async def metrics_server(metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Answer ``GET /metrics`` and ``GET /healthz`` on ``port`` (0: any free one); yields the port.

    For roles that serve nothing else.
    """

    async def exposition(request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": EXPOSITION_TYPE})

    async def alive(request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    app = web.Application()
    app.add_routes([web.get("/metrics", exposition), web.get("/healthz", alive)])
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75.0, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield site.port
    finally:
        await runner.cleanup()
