"""Prometheus and Grafana ask for nothing that the roles do not tell."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator

import aiohttp
import pytest
import yaml

from flashorder.consumer.metrics import ConsumerMetrics
from flashorder.fencing.metrics import FencingMetrics
from flashorder.fulfilment.metrics import FulfilmentMetrics
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.inventory.reconciliation.service import ReconciliationMetrics
from flashorder.notifications.metrics import OutboxMetrics
from flashorder.payments.metrics import PaymentMetrics
from flashorder.reservations.metrics import ReserveMetrics
from tests.deploy.files import dashboards, read, roles, services
from tests.fulfilment.conftest import free_port

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
WORDS_OF_PROMQL = {
    "abs", "by", "count", "histogram_quantile", "increase", "max", "min", "or", "rate", "sum",
    "vector", "on", "without", "and", "unless",
}  # fmt: skip


def exported() -> set[str]:
    """The names of every sample that any role can tell."""
    metrics = Metrics(role="any")
    for family in (
        ConsumerMetrics, FencingMetrics, FulfilmentMetrics, OutboxMetrics, PaymentMetrics,
        ReconciliationMetrics, ReserveMetrics,
    ):  # fmt: skip
        family(metrics.registry)
    return {
        family.name + suffix
        for family in metrics.registry.collect()
        for suffix in SUFFIXES.get(family.type, ("",))
    } | {"up"}


def panels() -> Iterator[dict]:
    for dashboard in dashboards():
        yield from dashboard["panels"]


def expressions() -> list[str]:
    groups = yaml.safe_load(read("deploy/prometheus/alerts.yml"))["groups"]
    asked = [rule["expr"] for group in groups for rule in group["rules"]]
    return asked + [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def names_in(expression: str) -> set[str]:
    """Names of metrics in PromQL: without labels, ranges and words of the language."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|without|on)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - WORDS_OF_PROMQL


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_asked_for_is_exported(expression: str) -> None:
    assert names_in(expression)
    assert names_in(expression) - exported() == set()


def test_every_family_of_ours_is_watched() -> None:
    watched = {name for expression in expressions() for name in names_in(expression)}
    families = {re.sub(r"_(total|bucket|sum|count|info)$", "", name) for name in exported()}
    ours = {name for name in families if name.startswith("flashorder_")} - {"flashorder_build"}
    assert {name for name in ours if not any(each.startswith(name) for each in watched)} == set()


def test_what_the_last_reconciliation_found_is_asked_of_the_worker_alone() -> None:
    last = {
        "flashorder_stock_drift_units",
        "flashorder_front_missing_items",
        "flashorder_reconciliation_age_seconds",
    }
    asking = [expression for expression in expressions() if names_in(expression) & last]
    assert last == {name for each in asking for name in names_in(each) & last}
    assert [each for each in asking if 'role="worker"' not in each] == []


def test_the_dashboard_reads_from_the_provisioned_source() -> None:
    source = yaml.safe_load(read("deploy/grafana/provisioning/datasources/prometheus.yml"))
    (datasource,) = source["datasources"]
    assert datasource["url"] == "http://prometheus:9090"
    for panel in panels():
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == datasource["uid"]
            assert panel["description"]
    for dashboard in dashboards():
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(ids) == len(set(ids))


def test_grafana_finds_the_dashboards_where_compose_mounts_them() -> None:
    provider = yaml.safe_load(read("deploy/grafana/provisioning/dashboards/flashorder.yml"))
    path = provider["providers"][0]["options"]["path"]
    grafana = services()["grafana"]
    assert f"./deploy/grafana/dashboards:{path}:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{path}/flashorder.json"
    assert [dashboard["uid"] for dashboard in dashboards()] == ["flashorder"]


def test_prometheus_scrapes_every_role_that_stays() -> None:
    config = yaml.safe_load(read("deploy/prometheus/prometheus.yml"))
    (job,) = [each for each in config["scrape_configs"] if each["job_name"] == "flashorder"]
    (discovery,) = job["dns_sd_configs"]
    assert set(discovery["names"]) == {"web", "consumer", "worker"}
    for name in discovery["names"]:
        assert roles()[name]["environment"]["FLASHORDER_METRICS_PORT"] == str(discovery["port"])
        assert set(roles()[name]["networks"]) & set(services()["prometheus"]["networks"])
    assert config["rule_files"] == ["alerts.yml"]


def test_every_alert_says_what_to_do() -> None:
    (group,) = yaml.safe_load(read("deploy/prometheus/alerts.yml"))["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(names) == len(set(names))
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "warn")
        assert set(rule["annotations"]) == {"summary", "action"}


@pytest.mark.parametrize("name", ["consumer", "worker"])
async def test_a_role_that_answers_nobody_tells_its_metrics(
    name: str, redis_url: str, database_url: str
) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flashorder.cli", *roles()[name]["command"]),
        env={
            "PATH": os.environ["PATH"],
            "FLASHORDER_SECRET": "test",
            "FLASHORDER_REDIS_URL": redis_url,
            "FLASHORDER_DATABASE_URL": database_url,
            "FLASHORDER_METRICS_PORT": str(port),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        text = await metrics_of(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        await process.wait()
    assert f'role="{name}"' in text


async def metrics_of(url: str) -> str:
    """What is told at ``/metrics``, once ``/healthz`` answers."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(15):
        while True:
            try:
                async with session.get(f"{url}/healthz") as answer:
                    assert answer.status == 200
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
        async with session.get(f"{url}/metrics") as answer:
            return await answer.text()
