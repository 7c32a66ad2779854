"""What ``make run`` promises a first visitor: who pays, waits, and has the goods."""

from __future__ import annotations

import json
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.test_up import Up

pytestmark = pytest.mark.timeout(120)


def call(method: str, url: str, body: Any = None, token: str = "") -> Any:
    headers = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def watch(url: str, token: str) -> bytes:
    """Every event of an order, once there are no more to come."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def test_a_paid_order_walks_to_its_end_on_its_own(tmp_path: Path) -> None:
    up = Up(tmp_path, FLASHORDER_AUTOPILOT_PAUSE_SECONDS="0.2")
    try:
        state = up.ready()
        url = state["url"]
        call("PUT", f"{state['carrier_url']}/control", {"pace_ms": 50})
        login = json.loads((tmp_path / "data" / "demonstration.json").read_bytes())["buyer"]
        token = call("POST", f"{url}/v1/tokens", login)["access_token"]
        (sale,) = call("GET", f"{url}/v1/sales?status=open")["items"]
        bought = call(
            "POST",
            f"{url}/v1/sales/{sale['sale_id']}/orders",
            {"sku": sale["items"][0]["sku"], "quantity": 1},
            token,
        )
        order = f"{url}/v1/orders/{bought['order_id']}"
        payment = call("POST", f"{order}/payments", {"provider": "simulator"}, token)
        call("POST", f"{payment['action']['url']}/decision", {"decision": "approve"})
        assert b'"completed"' in watch(f"{order}/stream", token), up.words()
        steps = [event["type"] for event in call("GET", order, token=token)["events"]]
        assert steps == ["placed", "paid", "awaiting_shipment", "shipped", "delivered", "completed"]
        verified = up.command("verify", "--settle-seconds", "20")
        assert verified.returncode == 0, verified.stdout + verified.stderr
    finally:
        up.end()
