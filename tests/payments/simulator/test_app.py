"""The simulator as its callers meet it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from flashorder.kernel.errors import Misconfigured
from flashorder.payments.simulator import build_payment_simulator
from tests.payments.house import Simulator, payment_settings


@pytest_asyncio.fixture
async def provider(tmp_path: Path, client: aiohttp.ClientSession) -> AsyncIterator[Simulator]:
    """A simulator that nobody listens to."""
    simulator = Simulator(payment_settings(tmp_path, service_url="http://127.0.0.1:9"), client)
    await simulator.start()
    yield simulator
    await simulator.stop()


async def call(
    provider: Simulator, path: str, body: Any, key: str | None = "key", **headers: str
) -> tuple[int, dict[str, Any]]:
    secret = provider.settings.derived_key("api:payments:simulator").hex()
    sent = {"Authorization": f"Bearer {secret}", **headers}
    if key is not None:
        sent["Idempotency-Key"] = key
    async with provider.client.post(provider.url + path, json=body, headers=sent) as answer:
        return answer.status, await answer.json()


def wanted(**changes: Any) -> dict[str, Any]:
    return {"merchant_reference": "m1", "amount": 1999, "currency": "GBP", **changes}


async def begun(provider: Simulator, key: str = "key", **changes: Any) -> dict[str, Any]:
    status, payment = await call(provider, "/v1/payments", wanted(**changes), key)
    assert status == 201, payment
    return payment


async def test_a_key_stands_for_one_body(provider: Simulator) -> None:
    first = await begun(provider)
    assert (await begun(provider))["id"] == first["id"]
    status, refusal = await call(provider, "/v1/payments", wanted(amount=1))
    assert (status, refusal["code"]) == (422, "idempotency_key_reused")
    status, refusal = await call(provider, "/v1/payments", wanted(), key=None)
    assert (status, refusal["code"]) == (400, "idempotency_key_missing")


async def test_bad_calls_are_refused_in_one_shape(provider: Simulator) -> None:
    bodies = [{}, [], wanted(amount=-1), wanted(amount=1.5), wanted(currency="gbp"), wanted(x=1)]
    for body in [*bodies, wanted(return_url="javascript:alert(1)"), wanted(capture_method="x")]:
        status, refusal = await call(provider, "/v1/payments", body)
        assert (status, set(refusal)) == (422, {"code", "detail"}), body
    status, _ = await call(provider, "/v1/payments", wanted(), Authorization="Bearer no")
    assert status == 401
    assert (await call(provider, "/v1/payments/none/void", {}))[0] == 404
    assert (await call(provider, "/v1/nothing", {}))[0] == 404
    big = wanted(merchant_reference="x" * 20_000)
    assert (await call(provider, "/v1/payments", big))[0] == 413
    assert (await provider.ledger())["totals"] == {}


async def test_the_page_is_for_people_and_the_decision_for_both(provider: Simulator) -> None:
    url = (await begun(provider, return_url="https://shop.example/?a=1&b=%3Cb%3E"))["action"]["url"]
    browser = {"Accept": "text/html,application/xhtml+xml"}
    async with provider.client.get(url, headers=browser) as page:
        assert page.content_type == "text/html"
        text = await page.text()
    assert "19.99 GBP" in text
    assert 'value="approve"' in text
    async with provider.client.post(
        f"{url}/decision", data={"decision": "approve"}, headers=browser
    ) as page:
        assert page.status == 200
        text = await page.text()
    assert "You have paid" in text
    assert 'href="https://shop.example/?a=1&amp;b=%3Cb%3E"' in text
    async with provider.client.post(
        f"{url}/decision", data={"decision": "decline"}, headers=browser
    ) as page:
        assert page.status == 409
        assert page.content_type == "text/html"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"decision": "perhaps"}', b"decision=x", b"\xff"])
async def test_a_decision_is_one_of_two(provider: Simulator, body: bytes) -> None:
    url = (await begun(provider))["action"]["url"]
    async with provider.client.post(f"{url}/decision", data=body) as answer:
        assert answer.status == 422
        assert "code" in await answer.json()


async def test_a_decision_stands(provider: Simulator) -> None:
    url = (await begun(provider))["action"]["url"]
    assert await provider.decide(url, "approve") == 200
    assert await provider.decide(url, "approve") == 200
    assert await provider.decide(url, "decline") == 409
    totals = (await provider.ledger())["totals"]["GBP"]
    assert totals["authorisations"] == totals["captures"] == {"count": 1, "amount": 1999}
    assert totals["declines"] == totals["voids"] == totals["refunds"] == {"count": 0, "amount": 0}


async def test_curl_without_a_content_type_is_understood(provider: Simulator) -> None:
    url = (await begun(provider))["action"]["url"]
    async with provider.client.post(
        f"{url}/decision",
        data=b'{"decision": "approve"}',
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ) as answer:
        assert answer.status == 200
        assert (await answer.json())["status"] == "captured"


async def test_control_is_checked_and_replaced(provider: Simulator) -> None:
    control = await provider.control(decline_rate=0.25, duplicate_webhooks=True)
    assert control["decline_rate"] == 0.25
    assert control["latency_ms"] == 0
    control = await provider.control(latency_ms=5)
    assert (control["latency_ms"], control["decline_rate"]) == (5, 0)
    for knobs in (
        {"latency_ms": -1},
        {"decline_rate": 1.5},
        {"drop_webhook_rate": "all"},
        {"reorder_webhooks": 7},
        {"duplicate_webhooks": None},
        {"explode": True},
        [],
    ):
        async with provider.client.put(f"{provider.url}/control", json=knobs) as answer:
            assert answer.status == 422, knobs
    async with provider.client.get(f"{provider.url}/control") as answer:
        assert await answer.json() == control


async def test_decline_rate_declines_approvals(provider: Simulator) -> None:
    await provider.control(decline_rate=1)
    url = (await begun(provider))["action"]["url"]
    assert await provider.decide(url, "approve") == 200
    (declined,) = (await provider.ledger())["declines"]
    assert declined["merchant_reference"] == "m1"


async def test_the_books_outlive_the_process(provider: Simulator) -> None:
    payments = await asyncio.gather(
        *(begun(provider, f"k{turn}", merchant_reference=f"m{turn}") for turn in range(20))
    )
    for payment in payments[:10]:
        await provider.decide(payment["action"]["url"], "approve")
    refund = {"payment": payments[0]["id"], "amount": 999, "currency": "GBP"}
    await call(provider, "/v1/refunds", {**refund, "merchant_reference": "r1"}, "r1")
    before = await provider.ledger()
    assert before["totals"]["GBP"]["captures"] == {"count": 10, "amount": 19990}
    await provider.stop()
    journal = provider.settings.data_dir / "payment_simulator" / "books.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"type":"payment","id":"torn by a cra')
    await provider.start()
    after = await provider.ledger()
    assert after["totals"] == before["totals"]
    assert after["refunds"] == before["refunds"]
    assert (await begun(provider, "k3", merchant_reference="m3"))["id"] == payments[3]["id"]
    # What is left of payment 0 is known as well.
    status, _ = await call(
        provider, "/v1/refunds", {**refund, "amount": 1001, "merchant_reference": "r2"}, "r2"
    )
    assert status == 409
    await provider.stop()
    await provider.start()
    assert (await provider.ledger())["totals"] == before["totals"]


async def test_books_that_are_no_books_are_named(provider: Simulator) -> None:
    await provider.stop()
    journal = provider.settings.data_dir / "payment_simulator" / "books.jsonl"
    journal.write_bytes(b'{"type":"cookery"}\n')
    with pytest.raises(Misconfigured, match=r"line 1 of .*books\.jsonl"):
        await provider.start()
    journal.unlink()


async def test_it_says_that_it_is_well(provider: Simulator) -> None:
    async with provider.client.get(f"{provider.url}/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})


async def test_books_have_one_writer(provider: Simulator) -> None:
    second = web.AppRunner(build_payment_simulator(provider.settings))
    with pytest.raises(Misconfigured):
        await second.setup()


async def test_a_refused_refund_moves_no_money_and_stays_refused(provider: Simulator) -> None:
    payment = await begun(provider)
    await provider.decide(payment["action"]["url"], "approve")
    wish = {
        "payment": payment["id"], "amount": 999, "currency": "GBP", "merchant_reference": "r1",
    }  # fmt: skip
    await provider.control(refuse_refund_rate=1)
    refused = await call(provider, "/v1/refunds", wish, "r1")
    assert (refused[0], refused[1]["status"]) == (201, "failed")
    await provider.control(refuse_refund_rate=0)
    assert await call(provider, "/v1/refunds", wish, "r1") == refused
    assert (await provider.ledger())["refunds"] == []
    assert (await call(provider, "/v1/refunds", wish, "r2"))[1]["status"] == "succeeded"
