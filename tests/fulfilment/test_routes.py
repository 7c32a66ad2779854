"""The calls of the contract over HTTP, with the mechanism that the service uses."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest_asyncio

from flashorder.fulfilment.model import TrackingStatus
from flashorder.fulfilment.routes import endpoints
from flashorder.infra.http.application import build_application
from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.http.openapi import openapi_document
from flashorder.infra.http.tokens import Authenticator, TokenSigner
from tests.fulfilment.conftest import House, SimulatorClient, listening
from tests.fulfilment.test_tracking import on_its_way, sent

LIST = "/v1/admin/shipments"


@dataclass
class Client:
    """A caller of the service."""

    session: aiohttp.ClientSession
    signer: TokenSigner

    async def call(
        self, method: str, path: str, role: Role | None = Role.WAREHOUSE, **more: Any
    ) -> tuple[int, Any]:
        headers = dict(more.pop("headers", {}))
        if role is not None:
            token = self.signer.sign(uuid.uuid4(), role, uuid.uuid4().hex)
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, path, headers=headers, **more) as answer:
            content = await answer.read()
            is_json = "json" in answer.content_type
            return answer.status, await answer.json(content_type=None) if is_json else content


@pytest_asyncio.fixture
async def client(house: House) -> AsyncIterator[Client]:
    settings = house.settings
    app = build_application(
        endpoints(house.service),
        settings=settings,
        authenticator=Authenticator.of(settings),
        idempotency=IdempotencyStore(house.pool),
    )
    url = f"http://127.0.0.1:{settings.port}"
    async with listening(app, settings.port), aiohttp.ClientSession(url) as session:
        yield Client(session, TokenSigner.of(settings))


async def test_pick_pack_ship_and_print(
    house: House, client: Client, simulator: SimulatorClient
) -> None:
    one = f"{LIST}/{await house.shipment()}"
    assert (await client.call("POST", f"{one}/pick"))[1]["status"] == "picking"
    assert (await client.call("POST", f"{one}/pack"))[1]["status"] == "packed"
    body = {"carrier": "simulator", "parcels": [{"weight_grams": 900}]}
    status, shipped = await client.call("POST", f"{one}/ship", Role.OPERATOR, json=body)
    assert (status, set(shipped)) == (200, {"shipment_id", "tracking_number", "label_url"})
    assert (await client.call("POST", f"{one}/ship", json=body))[1] == shipped
    status, detail = await client.call("GET", one)
    assert (detail["status"], detail["parcels"][0]["weight_grams"]) == ("shipped", 900)
    for _ in range(2):
        assert (await client.call("POST", f"{one}/deliver"))[1]["status"] == "delivered"
    status, document = await client.call("GET", f"{one}/label")
    assert (status, document[:5]) == (200, b"%PDF-")


async def test_the_list_is_filtered_and_paged(house: House, client: Client) -> None:
    made = [str(await house.shipment("packed" if n == 0 else "pending")) for n in range(4)]
    seen: list[str] = []
    query = {"limit": "3", "status": "pending"}
    cursor = None
    while True:
        status, page = await client.call("GET", LIST, params=query)
        assert status == 200
        seen += [item["shipment_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        query["cursor"] = cursor
    assert seen == made[:0:-1]
    order_id = str((await house.row(uuid.UUID(made[0])))["order_id"])
    _, page = await client.call("GET", LIST, params={"order_id": order_id})
    assert [item["shipment_id"] for item in page["items"]] == made[:1]
    for wrong in ({"status": "eaten"}, {"limit": "0"}, {"cursor": "x"}, {"colour": "red"}):
        assert (await client.call("GET", LIST, params=wrong))[0] == 422


async def test_the_warehouse_is_not_for_everybody(house: House, client: Client) -> None:
    one = f"{LIST}/{await house.shipment()}"
    for role, status in ((Role.SHOPPER, 403), (Role.SUPPORT, 403), (None, 401)):
        for method, path in (
            ("GET", LIST),
            ("GET", one),
            ("GET", f"{one}/label"),
            ("POST", f"{one}/pick"),
            ("POST", f"{one}/pack"),
            ("POST", f"{one}/ship"),
            ("POST", f"{one}/deliver"),
        ):
            assert (await client.call(method, path, role))[0] == status


UNSHIPPABLE: list[tuple[dict[str, Any], int]] = [
    ({}, 422),
    ({"carrier": ""}, 422),
    ({"carrier": "pigeon"}, 422),
    ({"carrier": "simulator", "speed": 1}, 422),
    ({"carrier": "simulator", "parcels": []}, 422),
    ({"carrier": "simulator", "parcels": [{"weight_grams": 0}]}, 422),
    ({"carrier": "simulator", "parcels": [{"weight_grams": 1.5}]}, 422),
    ({"carrier": "simulator", "parcels": [{"weight_grams": 1}] * 51}, 422),
    ({"carrier": "simulator"}, 409),
]


async def test_what_cannot_ship_is_told_why(house: House, client: Client) -> None:
    shipment_id = await house.shipment()
    before = await house.row(shipment_id)
    for body, status in UNSHIPPABLE:
        answer = await client.call("POST", f"{LIST}/{shipment_id}/ship", json=body)
        assert answer[0] == status, (body, answer)
    assert await house.row(shipment_id) == before


async def test_a_carrier_that_is_away_is_503(house: House, client: Client) -> None:
    shipment_id = await house.shipment("packed")
    body = {"carrier": "simulator"}
    status, problem = await client.call("POST", f"{LIST}/{shipment_id}/ship", json=body)
    assert (status, problem["code"]) == (503, "provider_unavailable")


async def test_ids_that_are_none_are_404(client: Client) -> None:
    for wrong in ("x", str(uuid.uuid4()), "{a b}", "%00", "a" * 10_000):
        for method, tail in (("GET", ""), ("GET", "/label"), ("POST", "/pick"), ("POST", "/pack")):
            status, _ = await client.call(method, f"{LIST}/{wrong}{tail}")
            # A path of 10 KB is more than the parser of heads takes.
            assert status == (400 if len(wrong) > 8_000 else 404), (method, wrong[:40], tail)


async def test_webhooks_are_verified_before_anything(house: House, client: Client) -> None:
    shipment_id, number = await on_its_way(house)
    path = "/v1/webhooks/carriers/simulator"
    headers, body = sent(house, number, TrackingStatus.DELIVERED)
    status, problem = await client.call("POST", path, None, data=body)
    assert (status, problem["code"]) == (401, "signature_invalid")
    status, problem = await client.call("POST", path, None, data=body[:-2], headers=headers)
    assert (status, problem["code"]) == (401, "signature_invalid")
    assert (await client.call("POST", path, None, data=b"x" * 100_000, headers=headers))[0] == 413
    status, _ = await client.call(
        "POST", "/v1/webhooks/carriers/pigeon", None, data=body, headers=headers
    )
    assert status == 404
    assert await house.pool.fetchval("SELECT count(*) FROM carrier_webhooks") == 0
    for _ in range(2):
        assert (await client.call("POST", path, None, data=body, headers=headers))[0] == 200
    assert (await house.row(shipment_id))["status"] == "delivered"
    early = sent(house, "SIM-not-yet", TrackingStatus.IN_TRANSIT)
    assert (await client.call("POST", path, None, data=early[1], headers=early[0]))[0] == 200


def test_the_document_names_a_carrier(house: House) -> None:
    document = openapi_document(endpoints(house.service))
    carrier = document["components"]["schemas"]["ShipBody"]["properties"]["carrier"]
    assert carrier["examples"] == ["simulator"]
    assert "carrier" in carrier["description"]
