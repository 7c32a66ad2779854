"""Orders over a real socket: whose they are, what is shown, what is refused."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from flashorder.infra.http.endpoint import Role
from flashorder.infra.postgres.pool import connect_postgres
from flashorder.kernel.identifiers import new_id, order_number
from flashorder.reservations.ports import AcceptedPurchase
from tests.consumer.shop import PRICE, SKU, Bought
from tests.orders.desk import Desk
from tests.orders.site import Site, serving

MONEY = {"amount": PRICE, "currency": "GBP"}


class Memory:
    """What the front remembers: the port, with a purchase put in by hand."""

    def __init__(self) -> None:
        self.purchases: dict[tuple[uuid.UUID, uuid.UUID], AcceptedPurchase] = {}

    def remember(self, bought: Bought, sale_id: uuid.UUID) -> None:
        self.purchases[bought.order_id, bought.buyer_id] = AcceptedPurchase(
            bought.order_id, sale_id, SKU, "A name", 1, PRICE, "GBP",
            1_700_000_000_000, 1_700_000_900_000,
        )  # fmt: skip

    async def find(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> AcceptedPurchase | None:
        return self.purchases.get((order_id, buyer_id))


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest_asyncio.fixture
async def site(desk: Desk, memory: Memory) -> AsyncIterator[Site]:
    async with serving(desk.pool, memory) as up:
        yield up


async def test_an_order_as_its_buyer_sees_it(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()
    path = f"/v1/orders/{bought.order_id}"
    status, order, headers = await site.call("GET", path, site.buyer(bought))
    assert status == 200
    assert headers["ETag"] == '"1"'
    assert set(order) >= {
        "order_id", "order_number", "kind", "status", "cancel_reason", "payment_status",
        "fulfillment_status", "return_status", "lines", "totals", "currency", "ship_to",
        "payment_due_at", "created_at", "updated_at", "version", "events",
    }  # fmt: skip
    assert order["status"] == "pending_payment"
    assert order["order_number"] == order_number(bought.order_id.bytes)
    assert order["lines"] == [
        {"sku": SKU, "name": f"Name of {SKU}", "quantity": 1, "unit_price": MONEY, "total": MONEY}
    ]
    assert order["totals"]["total"] == MONEY
    assert [event["type"] for event in order["events"]] == ["placed"]
    assert (order["payment_status"], order["fulfillment_status"]) == ("none", "none")

    await desk.pay(bought)
    await desk.service.add_note(bought.order_id, "operator:x", "words of the staff")
    await desk.service.release_to_warehouse(bought.order_id, new_id())
    await desk.ship(bought)
    await desk.relay()
    _, order, _ = await site.call("GET", path, site.buyer(bought))
    assert (order["status"], order["payment_status"]) == ("shipped", "captured")
    assert order["fulfillment_status"] == "shipped"
    assert order["totals"]["paid"] == MONEY
    assert [(each["version"], each["type"], each["actor"]) for each in order["events"]] == [
        (1, "placed", "buyer"),
        (2, "paid", "payments"),
        (4, "awaiting_shipment", "operator"),
        (5, "shipped", "warehouse"),
    ]
    _, order, _ = await site.call("GET", f"/v1/admin/orders/{bought.order_id}", site.operator)
    assert order["events"][2]["data"] == {"text": "words of the staff"}
    assert order["buyer_id"] == str(bought.buyer_id)


async def test_somebody_elses_order_is_not_there(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()
    stranger = site.up.bearer(Role.SHOPPER, new_id())
    path = f"/v1/orders/{bought.order_id}"
    for method, end, body in [
        ("GET", "", None),
        ("GET", "/stream", None),
        ("PATCH", "", {"address_id": str(new_id())}),
        ("POST", "/cancel", {"reason": "changed_mind"}),
        ("POST", "/confirm-receipt", None),
    ]:
        status, problem, _ = await site.call(method, path + end, stranger, json=body)
        assert (status, problem["code"]) == (404, "order_not_found"), (method, end)
    assert await desk.timeline(bought) == ["placed"]
    for wrong in ("x", str(new_id()), "{s0}", "%20", "%00", "a" * 5000):
        status, _, _ = await site.call("GET", f"/v1/orders/{wrong}", stranger)
        assert status == 404, wrong


async def test_an_accepted_order_has_the_same_shape(site: Site, desk: Desk, memory: Memory) -> None:
    bought = await desk.shop.buy()
    path = f"/v1/orders/{bought.order_id}"
    memory.remember(bought, desk.shop.sale_id)
    status, early, _ = await site.call("GET", path, site.buyer(bought))
    assert (status, early["status"], early["version"]) == (200, "accepted", 0)
    stranger = site.up.bearer(Role.SHOPPER, new_id())
    assert (await site.call("GET", path, stranger))[0] == 404
    await desk.shop.drain()
    _, later, _ = await site.call("GET", path, site.buyer(bought))
    assert set(early) == set(later)
    assert early["order_number"] == later["order_number"]
    assert early["totals"] == later["totals"]


async def test_while_the_database_is_away_the_front_answers(redis_url: str, memory: Memory) -> None:
    nowhere = await connect_postgres(
        "postgresql://nobody@127.0.0.1:9/none", connections_min=0, connections_max=1
    )
    bought = Bought(new_id(), new_id())
    memory.remember(bought, new_id())
    async with serving(nowhere, memory) as site:
        path = f"/v1/orders/{bought.order_id}"
        status, order, _ = await site.call("GET", path, site.buyer(bought))
        assert (status, order["status"]) == (200, "accepted")
        status, problem, headers = await site.call(
            "GET", f"/v1/orders/{new_id()}", site.buyer(bought)
        )
        assert (status, problem["code"]) == (503, "database_unavailable")
        assert "Retry-After" in headers
    await nowhere.close()


async def test_lists_are_paged_and_filtered(site: Site, desk: Desk) -> None:
    buyer_id = new_id()
    mine = [await desk.shop.place(1, buyer_id) for _ in range(5)]
    await desk.shop.place()
    headers = site.buyer(mine[0])
    newest_first = [str(each.order_id) for each in sorted(mine, key=lambda b: b.order_id)][::-1]
    seen, path = [], "/v1/orders?limit=2"
    while path:
        status, page, answered = await site.call("GET", path, headers)
        assert status == 200
        seen += [order["order_id"] for order in page["items"]]
        path = page["next_cursor"] and f"/v1/orders?limit=2&cursor={page['next_cursor']}"
        assert bool(path) == ("Link" in answered)
    assert seen == newest_first

    await desk.service.cancel_own(mine[0].order_id, buyer_id, "changed_mind")
    for query, count in [
        ("status=cancelled", 1),
        ("status=pending_payment", 4),
        ("kind=seckill", 5),
        ("kind=ordinary", 0),
        ("created_after=2020-01-01T00:00:00Z", 5),
        ("created_after=2100-01-01T00:00:00Z", 0),
    ]:
        _, page, _ = await site.call("GET", f"/v1/orders?{query}", headers)
        assert len(page["items"]) == count, query
    for query in ("status=lost", "created_after=yesterday", "limit=0", "cursor=x", "colour=red"):
        assert (await site.call("GET", f"/v1/orders?{query}", headers))[0] == 422, query


async def test_a_time_that_cannot_be_computed_with_is_a_refusal_with_its_pointer(
    site: Site,
) -> None:
    for name in ("created_after", "created_before"):
        for moment in (
            *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00%2B14:00"),
            "9999-12-31T23:59:59-14:00",
        ):
            status, problem, _ = await site.call(
                "GET", f"/v1/admin/orders?{name}={moment}", site.operator
            )
            assert status == 422, moment
            assert [error["pointer"] for error in problem["errors"]] == [f"/{name}"]


async def test_operators_search(site: Site, desk: Desk) -> None:
    bought = [await desk.shop.place() for _ in range(3)]
    one = bought[1]
    number = order_number(one.order_id.bytes)
    for query, count in [
        ("", 3),
        (f"buyer_id={one.buyer_id}", 1),
        (f"order_number={number}", 1),
        (f"sku={SKU}&status=pending_payment", 3),
        ("sku=OTHER", 0),
        (f"sale_id={desk.shop.sale_id}", 3),
        (f"sale_id={new_id()}", 0),
        ("created_before=2020-01-01T00:00:00Z", 0),
    ]:
        status, page, _ = await site.call("GET", f"/v1/admin/orders?{query}", site.operator)
        assert (status, len(page["items"])) == (200, count), query
    status, problem, _ = await site.call("GET", "/v1/admin/orders", site.buyer(one))
    assert (status, problem["code"]) == (403, "forbidden")


async def test_cancelling_needs_a_key_and_a_reason_and_is_replayed(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()
    path = f"/v1/orders/{bought.order_id}/cancel"
    body = {"reason": "changed_mind"}
    async with site.up.client.post(path, headers=site.buyer(bought), json=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "idempotency_key_missing")
    for wrong in ({}, {"reason": ""}, {"reason": "x" * 201}, {"reason": 5}, {"reason": "a\nb"},
                  {"reason": "payment_expired"}, {**body, "more": 1}):  # fmt: skip
        status, _, _ = await site.call("POST", path, site.buyer(bought), json=wrong)
        assert status == 422, wrong
    headers = {**site.buyer(bought), "Idempotency-Key": "once"}
    status, order, _ = await site.call("POST", path, headers, json=body)
    assert (status, order["status"], order["cancel_reason"]) == (200, "cancelled", "changed_mind")
    status, again, answered = await site.call("POST", path, headers, json=body)
    assert (status, again) == (200, order)
    assert answered["Idempotency-Replayed"] == "true"
    status, problem, _ = await site.call("POST", path, site.buyer(bought), json=body)
    assert (status, problem["code"]) == (409, "invalid_state")


async def test_the_operators_desk(site: Site, desk: Desk) -> None:
    bought, other = await desk.shop.place(), await desk.shop.place()
    root = f"/v1/admin/orders/{bought.order_id}"
    status, problem, _ = await site.call("POST", f"{root}/release-to-warehouse", site.operator)
    assert (status, problem["code"]) == (409, "invalid_state")
    await desk.pay(bought)
    for _ in range(2):
        status, order, _ = await site.call("POST", f"{root}/release-to-warehouse", site.operator)
        assert (status, order["status"]) == (200, "awaiting_shipment")
    status, note, _ = await site.call("POST", f"{root}/notes", site.operator, json={"text": "hm"})
    assert (status, note["version"]) == (201, 4)
    status, order, _ = await site.call(
        "POST", f"/v1/admin/orders/{other.order_id}/cancel", site.operator,
        json={"reason": "out of stock since this morning"},
    )  # fmt: skip
    assert order["cancel_reason"] == "out of stock since this morning"
    for end in ("", "/release-to-warehouse", "/complete", "/cancel", "/notes"):
        method = "POST" if end else "GET"
        body = {"/cancel": {"reason": "x"}, "/notes": {"text": "x"}}.get(end)
        missing = f"/v1/admin/orders/{new_id()}{end}"
        status, problem, _ = await site.call(method, missing, site.operator, json=body)
        assert (status, problem["code"]) == (404, "order_not_found"), end


async def test_an_operator_completes_what_has_shipped(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()
    path = f"/v1/admin/orders/{bought.order_id}/complete"
    await desk.pay(bought)
    await desk.service.release_to_warehouse(bought.order_id, new_id())
    status, problem, _ = await site.call("POST", path, site.operator)
    assert (status, problem["code"]) == (409, "invalid_state")
    await desk.ship(bought)
    await desk.relay()
    status, problem, _ = await site.call("POST", path, site.buyer(bought))
    assert (status, problem["code"]) == (403, "forbidden")
    for _ in range(2):
        status, order, _ = await site.call("POST", path, site.operator)
        assert (status, order["status"]) == (200, "completed")
    assert (await desk.timeline(bought)).count("completed") == 1
    assert order["events"][-1]["actor"].startswith("operator:")
    assert await desk.shop.violations() == []


async def test_changing_the_address_takes_the_version_into_account(site: Site, desk: Desk) -> None:
    bought = await desk.shop.place()
    path = f"/v1/orders/{bought.order_id}"
    body = {"address_id": str(new_id())}
    headers = {**site.buyer(bought), "If-Match": '"9"'}
    status, problem, _ = await site.call("PATCH", path, headers, json=body)
    assert (status, problem["code"]) == (412, "precondition_failed")
    status, problem, _ = await site.call("PATCH", path, site.buyer(bought), json=body)
    assert (status, problem["code"]) == (404, "address_not_found")
    status, _, _ = await site.call("PATCH", path, site.buyer(bought), json={"address_id": "home"})
    assert status == 422
