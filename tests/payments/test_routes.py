"""Payments over HTTP: the contract's paths, codes and headers."""

from __future__ import annotations

import uuid
from typing import Any

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.openapi import openapi_document
from flashorder.kernel.identifiers import new_id
from flashorder.payments.jobs import jobs, subscriptions
from flashorder.payments.model import PaymentStatus
from flashorder.payments.routes import endpoints
from tests.infra.http.serving import Served
from tests.payments.house import House, Simulator


class Desk:
    """A caller."""

    def __init__(self, server: Served, role: Role, account_id: uuid.UUID | None = None) -> None:
        self._server = server
        self._headers = server.bearer(role, account_id)

    async def post(
        self, path: str, body: Any = None, key: str | None = "key"
    ) -> tuple[int, dict[str, Any]]:
        headers = self._headers | ({} if key is None else {"Idempotency-Key": key})
        async with self._server.client.post(path, json=body, headers=headers) as answer:
            self.headers = answer.headers
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self._server.client.get(path, headers=self._headers) as answer:
            return answer.status, await answer.json()


async def test_a_buyer_pays(house: House, web_role: Served, simulator: Simulator) -> None:
    order_id, buyer_id = await house.order()
    buyer = Desk(web_role, Role.SHOPPER, buyer_id)
    path = f"/v1/orders/{order_id}/payments"
    wish = {"provider": "simulator", "method": "card", "return_url": "https://shop.example/"}
    status, started = await buyer.post(path, wish)
    assert status == 201
    assert set(started) == {"payment_id", "status", "action"}
    assert started["status"] == "requires_action"
    assert started["action"]["type"] == "redirect"
    assert (await buyer.post(path, wish))[1] == started
    assert buyer.headers["Idempotency-Replayed"] == "true"
    assert (await buyer.post(path, wish, "another"))[1] == started
    await simulator.decide(started["action"]["url"], "approve")
    await house.reaches(uuid.UUID(started["payment_id"]), PaymentStatus.CAPTURED)
    status, attempts = await buyer.get(path)
    (attempt,) = attempts["items"]
    assert (status, attempt["status"], attempt["action"]) == (200, "captured", None)
    assert attempt["amount"] == {"amount": 1999, "currency": "GBP"}


async def test_what_a_buyer_gets_wrong(house: House, web_role: Served) -> None:
    order_id, buyer_id = await house.order()
    buyer = Desk(web_role, Role.SHOPPER, buyer_id)
    path = f"/v1/orders/{order_id}/payments"
    wish = {"provider": "simulator"}
    assert (await buyer.post(path, wish, key=None))[1]["code"] == "idempotency_key_missing"
    assert (await buyer.post(path, {"provider": "barter"}, "a"))[1]["code"] == "unknown_provider"
    for wrong in (
        {},
        {"provider": 1},
        {**wish, "amount": 1},
        {**wish, "return_url": "javascript:alert(1)"},
        {**wish, "method": "a\0b"},
    ):
        assert (await buyer.post(path, wrong, "b"))[0] == 422, wrong
    stranger = Desk(web_role, Role.SHOPPER)
    assert (await stranger.post(path, wish))[1]["code"] == "order_not_found"
    assert (await stranger.get(path))[0] == 404
    early = await buyer.post(f"/v1/orders/{new_id()}/payments", wish, "c")
    assert (early[0], early[1]["code"]) == (425, "order_not_ready")
    assert buyer.headers["Retry-After"] == "1"
    assert (await buyer.post("/v1/orders/{x}/payments", wish, "d"))[0] == 404
    await house.set_order(order_id, "cancelled")
    assert (await buyer.post(path, wish, "e"))[1]["code"] == "invalid_state"


async def test_a_provider_that_is_away_is_a_503_and_the_key_stays_free(
    house: House, web_role: Served, simulator: Simulator
) -> None:
    await simulator.stop()
    order_id, buyer_id = await house.order()
    buyer = Desk(web_role, Role.SHOPPER, buyer_id)
    path = f"/v1/orders/{order_id}/payments"
    status, problem = await buyer.post(path, {"provider": "simulator"})
    assert (status, problem["code"]) == (503, "provider_unavailable")
    assert buyer.headers["Retry-After"]
    await simulator.start()
    assert (await buyer.post(path, {"provider": "simulator"}))[0] == 201


async def test_operators_capture_void_and_refund(
    house: House, web_role: Served, simulator: Simulator
) -> None:
    payment = await house.started()
    operator = Desk(web_role, Role.OPERATOR)
    path = f"/v1/admin/payments/{payment.payment_id}"
    for role in (Role.SHOPPER, Role.WAREHOUSE, Role.SUPPORT):
        assert (await Desk(web_role, role).get(path))[0] == 403
        assert (await Desk(web_role, role).post(f"{path}/void"))[0] == 403
    assert (await operator.post(f"{path}/capture", key="c"))[1]["code"] == "invalid_state"
    assert (await operator.post(f"{path}/refunds", {"reason": "x"}, "d"))[0] == 409
    status, voided = await operator.post(f"{path}/void", key="e")
    assert (status, voided["status"]) == (200, "voided")

    paid = await house.started()
    await simulator.decide(paid.action.url, "approve")
    await house.reaches(paid.payment_id, PaymentStatus.CAPTURED)
    path = f"/v1/admin/payments/{paid.payment_id}"
    part = {"reason": "damaged", "amount": {"amount": 500, "currency": "GBP"}}
    status, refund = await operator.post(f"{path}/refunds", part, "f")
    assert (status, refund["status"], refund["amount"]["amount"]) == (201, "succeeded", 500)
    too_much = {"reason": "damaged", "amount": {"amount": 1500, "currency": "GBP"}}
    refusal = await operator.post(f"{path}/refunds", too_much, "g")
    assert refusal[1]["code"] == "refund_exceeds_capture"
    assert (await operator.post(f"{path}/refunds", {"reason": "rest"}, "h"))[0] == 201
    status, found = await operator.get(path)
    assert status == 200
    assert found["refunded"] == {"amount": 1999, "currency": "GBP"}
    assert [each["amount"]["amount"] for each in found["refunds"]] == [500, 1499]
    assert (await operator.get(f"/v1/admin/payments/{new_id()}"))[1]["code"] == "payment_not_found"


async def test_operators_list_payments(
    house: House, web_role: Served, simulator: Simulator
) -> None:
    started = [await house.started() for _ in range(5)]
    operator = Desk(web_role, Role.OPERATOR)
    seen: list[str] = []
    path: str | None = "/v1/admin/payments?limit=2"
    while path:
        status, page = await operator.get(path)
        assert status == 200
        seen += [each["payment_id"] for each in page["items"]]
        cursor = page["next_cursor"]
        path = f"/v1/admin/payments?limit=2&cursor={cursor}" if cursor else None
    assert seen == [str(each.payment_id) for each in reversed(started)]
    _, page = await operator.get(f"/v1/admin/payments?order_id={started[0].order_id}")
    assert [each["payment_id"] for each in page["items"]] == [str(started[0].payment_id)]
    _, page = await operator.get("/v1/admin/payments?status=captured&provider=simulator")
    assert page["items"] == []
    assert (await operator.get("/v1/admin/payments?status=rich"))[0] == 422


async def test_the_records_make_a_document(house: House) -> None:
    document = openapi_document(endpoints(house.service))
    assert "/v1/webhooks/payments/{provider}" in document["paths"]
    named = [job.name for job in jobs(house.service, house.settings)]
    assert len(set(named)) == len(named)
    assert [str(topic) for topic in subscriptions(house.service)] == [
        "order.cancelled",
        "order.refund_due",
    ]


def test_the_document_tells_a_program_how_to_pay(house: House) -> None:
    document = openapi_document(endpoints(house.service))
    provider = document["components"]["schemas"]["PaymentStart"]["properties"]["provider"]
    assert provider["examples"] == house.providers.names
    assert "payment provider" in provider["description"]
    call = document["paths"]["/v1/orders/{order_id}/payments"]["post"]
    assert 'POST {action.url}/decision` with `{"decision": "approve"}' in call["description"]
