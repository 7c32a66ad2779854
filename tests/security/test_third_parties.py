"""API10:2023 Unsafe consumption of APIs, and API7:2023 Server side request forgery.

What stands for it: every call of a payment provider and of a carrier by every answer that cannot be
believed (no HTTP, malformed, huge, compressed, endless, slow, deep, of other types and bounds, a
redirect) ends in time in a typed failure that a caller hears as 503 or as the carrier's refusal;
nothing that a provider says becomes a link, a path or a text that is not of its kind. No redirect
is followed, a label is fetched from the carrier's own address alone and is a PDF or nothing, and an
address that a buyer names is never called. Addresses of outgoing webhooks have tests of their own.
Webhooks, which is what third parties say unasked, are in test_webhooks.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from flashorder.app.web import build_web
from flashorder.fulfilment.carriers.port import CarrierRefused, Consignment
from flashorder.fulfilment.carriers.simulator import SimulatedCarrier
from flashorder.fulfilment.model import Parcel
from flashorder.infra.http.listening import Listening
from flashorder.infra.http.server import serve
from flashorder.kernel.errors import ProviderUnavailable
from flashorder.kernel.money import AMOUNT_MAX, Money
from flashorder.kernel.roles import Role
from flashorder.payments.model import PaymentStatus
from flashorder.payments.providers.port import PaymentRequest, RefundRequest
from flashorder.payments.providers.simulator import SimulatorProvider
from tests.journeys.system import free_port
from tests.security.client import Client, client_of
from tests.security.hostile import LIES, Hostile, answer, hostile
from tests.security.newcomer import Newcomer, sale_of_its_own
from tests.security.service import Service

TIMEOUT_SECONDS = 0.3
# Generous: the machine may be busy. Without a bound the endless answers would take a minute.
ANSWER_SECONDS_MAX = 5.0
REFUSALS = {"no such method", "a status that is none"}
ID = uuid.UUID(int=1)
Ask = Callable[[], Awaitable[Any]]


@pytest_asyncio.fixture
async def third_party() -> AsyncIterator[Hostile]:
    async with hostile() as listening:
        yield listening


@pytest_asyncio.fixture
async def provider(third_party: Hostile) -> AsyncIterator[SimulatorProvider]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield SimulatorProvider(
            session, url=third_party.url, api_key="key", webhook_secret=b"secret"
        )


@pytest_asyncio.fixture
async def carrier(third_party: Hostile) -> AsyncIterator[SimulatedCarrier]:
    adapter = SimulatedCarrier(
        third_party.url, api_key="key", webhook_key=b"secret", timeout_seconds=TIMEOUT_SECONDS
    )
    yield adapter
    await adapter.close()


def calls_of_provider(provider: SimulatorProvider) -> dict[str, Ask]:
    payment = PaymentRequest(ID, Money(1, "GBP"))
    refund = RefundRequest(ID, ID, "pay_1", Money(1, "GBP"), "a reason")
    return {
        "create": lambda: provider.create(payment),
        "capture": lambda: provider.capture("pay_1", ID),
        "void": lambda: provider.void("pay_1", ID),
        "query": lambda: provider.query("pay_1"),
        "refund": lambda: provider.refund(refund),
    }


def calls_of_carrier(carrier: SimulatedCarrier, url: str) -> dict[str, Ask]:
    consignment = Consignment(ID, [Parcel(weight_grams=1)])
    return {
        "create_label": lambda: carrier.create_label(consignment),
        "cancel_label": lambda: carrier.cancel_label(ID),
        "label_document": lambda: carrier.label_document(f"{url}/label.pdf"),
        "tracking": lambda: carrier.tracking("TRACK-1"),
    }


@pytest.mark.parametrize("lie", LIES)
async def test_no_call_of_a_provider_believes_it(
    provider: SimulatorProvider, third_party: Hostile, lie: str
) -> None:
    async def hear(name: str, ask: Ask) -> None:
        try:
            report = await ask()
        except ProviderUnavailable:
            return
        # A status that says no is a definite refusal, whatever stands in its body.
        assert lie in REFUSALS, (name, report)
        assert (report.status, report.failure_code) == ("failed", "refused")

    third_party.sending = LIES[lie]
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        await asyncio.gather(*(hear(*each) for each in calls_of_provider(provider).items()))


@pytest.mark.parametrize("lie", LIES)
async def test_no_call_of_a_carrier_believes_it(
    carrier: SimulatedCarrier, third_party: Hostile, lie: str
) -> None:
    async def hear(name: str, ask: Ask) -> None:
        try:
            said = await ask()
        except (ProviderUnavailable, CarrierRefused):
            return
        # It needs no body: the status is the whole answer.
        assert name == "cancel_label", (name, said)

    third_party.sending = LIES[lie]
    calls = calls_of_carrier(carrier, third_party.url)
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        await asyncio.gather(*(hear(*each) for each in calls.items()))


GOOD_PAYMENT = {
    "id": "pay_1", "merchant_reference": str(ID), "status": "requires_action", "amount": 1,
    "currency": "GBP", "action": {"type": "redirect", "url": "https://pay.example/1"},
}  # fmt: skip
WRONG_PAYMENTS: list[dict[str, Any]] = [
    {"id": "../refunds"}, {"id": ""}, {"id": "a/b"}, {"id": "a\0"}, {"id": "x" * 201}, {"id": None},
    {"status": "refunded"}, {"currency": "gbp"}, {"currency": "GBPX"}, {"currency": "£££"},
    {"amount": AMOUNT_MAX + 1}, {"amount": 2**63}, {"amount": 10**400}, {"amount": 0.5},
    {"amount": "1"}, {"failure_code": "a\nb"}, {"failure_code": "x" * 101},
    {"action": {"type": "redirect", "url": "javascript:alert(1)"}},
    {"action": {"type": "redirect", "url": "data:text/html,x"}},
    {"action": {"type": "redirect", "url": "//evil.example"}},
    {"action": {"type": "redirect", "url": "https://a.example/ x"}},
    {"action": {"type": "redirect", "url": "https://a.example/\r\nX: y"}},
    {"action": {"type": "redirect", "url": "https://a.example/" + "x" * 2000}},
    {"action": {"type": "<script>", "url": "https://a.example"}},
]  # fmt: skip


async def test_a_payment_is_believed_only_if_it_is_one(
    provider: SimulatorProvider, third_party: Hostile
) -> None:
    third_party.sending = answer(json.dumps(GOOD_PAYMENT).encode())
    report = await provider.create(PaymentRequest(ID, Money(1, "GBP")))
    assert report.status is PaymentStatus.REQUIRES_ACTION
    for change in WRONG_PAYMENTS:
        third_party.sending = answer(json.dumps(GOOD_PAYMENT | change).encode())
        for name in ("create", "query", "capture", "void"):
            with pytest.raises(ProviderUnavailable):
                assert not await calls_of_provider(provider)[name](), change


GOOD_LABEL = {"label_id": "l", "tracking_number": "T", "label_url": "https://carrier.example/l"}
WRONG_LABELS: list[dict[str, Any]] = [
    {"label_url": "javascript:alert(1)"}, {"label_url": "file:///etc/passwd"}, {"label_url": ""},
    {"label_url": "https://a.example/" + "x" * 2000}, {"tracking_number": "a\0b"},
    {"tracking_number": ""}, {"tracking_number": "x" * 256}, {"label_id": "\n"}, {"label_id": 1},
]  # fmt: skip


async def test_a_label_is_believed_only_if_it_is_one(
    carrier: SimulatedCarrier, third_party: Hostile
) -> None:
    third_party.sending = answer(json.dumps(GOOD_LABEL).encode(), status=201)
    create = calls_of_carrier(carrier, third_party.url)["create_label"]
    assert (await create()).reference == "l"
    for change in WRONG_LABELS:
        third_party.sending = answer(json.dumps(GOOD_LABEL | change).encode(), status=201)
        with pytest.raises(ProviderUnavailable):
            assert not await create(), change


async def test_a_refusal_is_told_in_the_bounds_of_a_reason(
    carrier: SimulatedCarrier, third_party: Hostile
) -> None:
    create = calls_of_carrier(carrier, third_party.url)["create_label"]
    for detail in ("x" * 100_000, "a\0b", "a\r\nb", {"a": 1}, None):
        third_party.sending = answer(json.dumps({"detail": detail}).encode(), status=422)
        with pytest.raises(CarrierRefused) as refused:
            await create()
        assert len(refused.value.detail) < 600
        assert refused.value.detail.isprintable()


async def test_a_tracking_number_stays_one_step_of_the_path(
    carrier: SimulatedCarrier, third_party: Hostile
) -> None:
    third_party.sending = answer(b'{"events": []}')
    for number in ("../labels", "a/b", "a?b", "a#b", "a b", "%2e%2e"):
        await carrier.tracking(number)
    for target in third_party.targets:
        assert target.startswith("/v1/tracking/")
        assert target.count("/") == 3, target
        assert "?" not in target


# -- server side request forgery


async def test_no_redirect_is_followed(
    provider: SimulatorProvider, carrier: SimulatedCarrier, third_party: Hostile
) -> None:
    async with hostile() as inside:
        inside.sending = answer(b"what only this machine can reach", media_type="application/pdf")
        for status in (301, 302, 303, 307, 308):
            third_party.sending = answer(b"", f"Location: {inside.url}/secret", status=status)
            for asks in (calls_of_provider(provider), calls_of_carrier(carrier, third_party.url)):
                for ask in asks.values():
                    with pytest.raises((ProviderUnavailable, CarrierRefused)):
                        await ask()
        assert inside.targets == []
    assert len(third_party.targets) == 5 * 9


async def test_a_label_is_fetched_from_its_carrier_alone(
    carrier: SimulatedCarrier, third_party: Hostile
) -> None:
    port = third_party.url.rpartition(":")[2]
    async with hostile() as inside:
        for url in (
            f"{inside.url}/label.pdf", f"{third_party.url}@127.0.0.1:{port}/label.pdf",
            f"{third_party.url}.evil.example/label.pdf", third_party.url, "file:///etc/passwd",
            f"http://localhost:{port}/label.pdf", f"http://[::ffff:127.0.0.1]:{port}/label.pdf",
            "http://169.254.169.254/latest/meta-data", f"//127.0.0.1:{port}/label.pdf", "",
        ):  # fmt: skip
            with pytest.raises(CarrierRefused):
                await carrier.label_document(url)
        assert inside.targets == third_party.targets == []


async def test_a_label_is_a_pdf_or_nothing(carrier: SimulatedCarrier, third_party: Hostile) -> None:
    url = f"{third_party.url}/label"
    for media_type in ("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", ""):
        third_party.sending = answer(b"<script>alert(1)</script>", media_type=media_type)
        with pytest.raises(CarrierRefused):
            await carrier.label_document(url)
    third_party.sending = answer(b"%PDF-1.7", media_type="application/pdf")
    assert (await carrier.label_document(url)).content_type == "application/pdf"


# -- the service, of which another worker is told another address of its provider


@pytest_asyncio.fixture
async def misled(service: Service, third_party: Hostile) -> AsyncIterator[Client]:
    """A client of a web worker beside the others, whose provider and carrier are hostile."""
    settings = service.settings.model_copy(
        update={
            "port": free_port(),
            "payment_simulator_url": third_party.url,
            "carrier_simulator_url": third_party.url,
            "provider_timeout_seconds": TIMEOUT_SECONDS,
        }
    )
    stopping = asyncio.Event()
    async with build_web(settings) as app:
        ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve(app, settings, stopping, on_ready=ready.set_result))
        try:
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            async with client_of(msgspec.structs.replace(service, settings=settings)) as client:
                yield client
        finally:
            stopping.set()
            await serving


async def unpaid_order(client: Client) -> tuple[Newcomer, str]:
    """A buyer, and the payments of an order of theirs."""
    sale_id, sku = await sale_of_its_own(client, units=1, limit=1)
    buyer = await Newcomer.arrive(client)
    await buyer.sign_in()
    order_id = (await buyer.buy(sale_id, sku)).body["order_id"]
    await buyer.order(order_id)
    return buyer, f"/v1/orders/{order_id}/payments"


async def test_a_buyer_hears_that_the_provider_is_away(
    client: Client, misled: Client, third_party: Hostile
) -> None:
    buyer, path = await unpaid_order(client)
    told = set()
    for lie, sending in LIES.items():
        if lie in REFUSALS:
            continue
        third_party.sending = sending
        answered = await misled.call("POST", path, {"provider": "simulator"}, token=buyer.token)
        assert (answered.status, answered.code) == (503, "provider_unavailable"), lie
        told.add(answered.body["detail"])
    for change in WRONG_PAYMENTS:
        third_party.sending = answer(json.dumps(GOOD_PAYMENT | change).encode())
        answered = await misled.call("POST", path, {"provider": "simulator"}, token=buyer.token)
        assert (answered.status, answered.code) == (503, "provider_unavailable"), change
    assert "Traceback" not in "".join(told)
    # The same attempt all along, and the provider that holds can still have it.
    listed = (await client.call("GET", path, token=buyer.token)).body["items"]
    assert [(each["attempt"], each["status"]) for each in listed] == [(1, "pending")]
    paid = await client.call("POST", path, {"provider": "simulator"}, token=buyer.token)
    assert (paid.status, paid.body["status"]) == (201, "requires_action")


async def test_a_label_elsewhere_is_not_fetched_for_anybody(
    misled: Client, third_party: Hostile
) -> None:
    scene = misled.service.scene
    third_party.sending = answer(b"%PDF-1.7", media_type="application/pdf")
    answered = await misled.call(
        "GET",
        f"/v1/admin/shipments/{scene.values['shipment_id']}/label",
        token=scene.tokens[Role.WAREHOUSE],
    )
    assert (answered.status, answered.code) == (409, "carrier_refused")
    assert third_party.targets == []


async def test_an_address_that_a_buyer_names_is_not_called(
    client: Client, third_party: Hostile
) -> None:
    buyer, path = await unpaid_order(client)
    body = {"provider": "simulator", "return_url": f"{third_party.url}/back"}
    started = await client.call("POST", path, body, token=buyer.token)
    assert started.status == 201
    for url in ("javascript:alert(1)", "file:///etc/passwd", "//evil.example", "gopher://x", "x"):
        wrong = {"provider": "simulator", "return_url": url}
        refused = await client.call("POST", path, wrong, token=buyer.token)
        assert (refused.status, refused.code) == (422, "invalid_input"), url
    assert third_party.targets == []
