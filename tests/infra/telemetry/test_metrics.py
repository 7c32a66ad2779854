"""The exposition: labels of the process, histograms that add up, a port of its own."""

from __future__ import annotations

import timeit

import aiohttp
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from flashorder.infra.telemetry.metrics import Metrics, RequestSeries, metrics_server


def test_every_sample_names_role_and_worker() -> None:
    metrics = Metrics(role="web")
    metrics.add_labels(worker="3")
    Counter("flashorder_things", "Things", ["kind"], registry=metrics.registry).labels("a").inc()
    metrics.requests.series("GET", "/x").record(200, 0.1)
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    assert {"flashorder_things", "flashorder_http_requests", "flashorder_build"} <= {
        family.name.removesuffix("_info") for family in families
    }
    for family in families:
        for sample in family.samples:
            assert (sample.labels["role"], sample.labels["worker"]) == ("web", "3")
    # Asked twice, the labels are not there twice.
    assert metrics.exposition().count(b'flashorder_things_total{kind="a",') == 1


def test_a_histogram_adds_up() -> None:
    metrics = Metrics()
    series = metrics.requests.series("GET", "/x")
    for seconds in (0.0005, 0.001, 0.004, 3.0, 60.0):
        series.record(200, seconds)
    name = "flashorder_http_request_duration_seconds"
    text = metrics.exposition().decode()
    for bound, count in (("0.001", 2), ("0.005", 3), ("2.5", 3), ("5.0", 4), ("+Inf", 5)):
        assert f'{name}_bucket{{le="{bound}",method="GET",route="/x"}} {count}.0' in text
    assert f'{name}_count{{method="GET",route="/x"}} 5.0' in text
    assert f'{name}_sum{{method="GET",route="/x"}} 63.0055' in text


def test_a_record_costs_less_than_two_microseconds() -> None:
    series = RequestSeries("GET", "/x")
    per_call = min(timeit.repeat(lambda: series.record(200, 0.003), number=20_000, repeat=5))
    assert per_call / 20_000 < 2e-6


async def test_a_role_without_a_web_server_has_a_port_for_its_metrics() -> None:
    metrics = Metrics(role="consumer")
    async with (
        metrics_server(metrics, "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        async with client.get("/metrics") as answer:
            assert answer.content_type == "text/plain"
            assert 'role="consumer"' in await answer.text()
        async with client.get("/healthz") as answer:
            assert await answer.json() == {"status": "alive"}
