"""The calls on sales over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.clock import parse_rfc3339, rfc3339, utc_now
from flashorder.kernel.errors import StoreUnavailable
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.sales import admin_routes, routes
from flashorder.sales.directory import SaleDirectory
from flashorder.sales.front import SaleFront
from flashorder.sales.model import ITEMS_MAX, DraftItem
from tests.infra.http.serving import Served, served
from tests.sales.conftest import COUNTED_UNITS, House
from tests.stores import BreakableStores

OPERATOR_ID = new_id()
ONE_LANTERN = (DraftItem("LANTERN", 1, Money(199, "GBP"), 1),)


@pytest_asyncio.fixture
async def web(house: House) -> AsyncIterator[Served]:
    directory = SaleDirectory(house.front, refresh_seconds=0.001)
    endpoints = [*routes.endpoints(directory), *admin_routes.endpoints(house.service)]
    async with served(endpoints, idempotency=IdempotencyStore(house.pool)) as web:
        yield web


def sale_body(**changes: Any) -> dict[str, Any]:
    return {
        "title": "Winter sale",
        "starts_at": rfc3339(utc_now() - timedelta(minutes=1)),
        "ends_at": rfc3339(utc_now() + timedelta(hours=1)),
        "items": [
            {
                "sku": "LANTERN",
                "quantity": 10,
                "unit_price": {"amount": 199, "currency": "GBP"},
                "per_buyer_limit": 2,
            }
        ],
        **changes,
    }


async def call(web: Served, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
    headers = {**web.bearer(Role.OPERATOR), **more.pop("headers", {})}
    async with web.client.request(method, path, headers=headers, **more) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def test_an_operator_walks_a_sale_from_draft_to_settled(web: Served) -> None:
    status, sale, headers = await call(web, "POST", "/v1/admin/sales", json=sale_body())
    assert (status, sale["status"]) == (201, "draft")
    assert headers["Location"] == f"/v1/admin/sales/{sale['sale_id']}"
    path = f"/v1/admin/sales/{sale['sale_id']}"
    status, problem, _ = await call(web, "GET", f"/v1/sales/{sale['sale_id']}")
    assert (status, problem["code"]) == (404, "sale_not_found")
    for verb, reached in (
        ("schedule", "scheduled"),
        ("open", "open"),
        ("pause", "paused"),
        ("resume", "open"),
    ):
        status, body, _ = await call(web, "POST", f"{path}/{verb}")
        assert (status, body["status"], body["synced"]) == (200, reached, True)
    for replayed in (None, "true"):
        status, body, headers = await call(
            web,
            "POST",
            f"{path}/top-up",
            json={"sku": "LANTERN", "quantity": 5},
            headers={**web.bearer(Role.OPERATOR, OPERATOR_ID), "Idempotency-Key": "k"},
        )
        assert (status, body["items"][0]["allotted"]) == (200, 15)
        assert headers.get("Idempotency-Replayed") == replayed
    status, shown, _ = await call(web, "GET", f"/v1/sales/{sale['sale_id']}")
    assert status == 200
    assert set(shown) == {
        "sale_id",
        "title",
        "status",
        "starts_at",
        "ends_at",
        "server_time",
        "items",
    }
    assert shown["items"] == [
        {
            "sku": "LANTERN",
            "name": "White lantern",
            "unit_price": {"amount": 199, "currency": "GBP"},
            "list_price": {"amount": 339, "currency": "GBP"},
            "per_buyer_limit": 2,
            "remaining": 15,
            "sold_out": False,
        }
    ]
    assert abs(parse_rfc3339(shown["server_time"]) - utc_now()) < timedelta(seconds=5)
    status, problem, _ = await call(web, "POST", f"{path}/settle", headers={"Idempotency-Key": "1"})
    assert (status, problem["code"]) == (409, "invalid_state")
    for verb, reached in (("close", "closed"), ("settle", "settled")):
        headers = {"Idempotency-Key": f"to {verb}"}
        status, body, _ = await call(web, "POST", f"{path}/{verb}", headers=headers)
        assert (status, body["status"], body["at_front"]) == (200, reached, verb == "close")


async def test_shoppers_see_live_sales_in_pages(web: Served, house: House) -> None:
    status, empty, _ = await call(web, "GET", "/v1/sales?status=open")
    assert (status, empty) == (200, {"items": [], "next_cursor": None})
    made = [await house.opened(items=ONE_LANTERN) for _ in range(3)]
    await house.service.pause(made[0].sale_id)
    status, page, headers = await call(web, "GET", "/v1/sales?status=open&limit=1")
    assert [sale["sale_id"] for sale in page["items"]] == [str(made[2].sale_id)]
    assert 'rel="next"' in headers["Link"]
    status, rest, _ = await call(
        web, "GET", f"/v1/sales?status=open&limit=1&cursor={page['next_cursor']}"
    )
    assert [sale["sale_id"] for sale in rest["items"]] == [str(made[1].sale_id)]
    assert rest["next_cursor"] is None
    status, every, _ = await call(web, "GET", "/v1/sales")
    assert [sale["status"] for sale in every["items"]] == ["open", "open", "paused"]


async def test_a_sale_past_its_end_is_shown_closed(web: Served, house: House) -> None:
    sale = await house.created()
    await house.pool.execute(
        "UPDATE sales SET status = 'open', revision = 2, starts_at = now() - interval '1 hour', "
        "ends_at = now()"
    )
    await house.service.convergence.push_unsynced()
    _, shown, _ = await call(web, "GET", f"/v1/sales/{sale.sale_id}")
    assert shown["status"] == "closed"
    _, page, _ = await call(web, "GET", "/v1/sales?status=open")
    assert page["items"] == []


async def test_operators_list_and_read_sales(web: Served, house: House) -> None:
    sale = await house.created()
    status, page, _ = await call(web, "GET", "/v1/admin/sales?status=draft")
    assert status == 200
    assert [each["sale_id"] for each in page["items"]] == [str(sale.sale_id)]
    status, read, _ = await call(web, "GET", f"/v1/admin/sales/{sale.sale_id}")
    assert (status, read["synced"], len(read["items"])) == (200, False, 2)


async def test_a_bad_sale_is_a_typed_refusal(web: Served) -> None:
    item = sale_body()["items"][0]
    bad: list[tuple[dict[str, Any], str]] = [
        ({"title": ""}, "/title"),
        ({"title": "a\0b"}, "/title"),
        ({"starts_at": "tomorrow"}, "/starts_at"),
        ({"starts_at": "2026-01-01T00:00:00"}, "/starts_at"),
        ({"starts_at": "0001-01-01T00:00:00Z"}, "/starts_at"),
        ({"starts_at": "0001-01-01T00:00:00+14:00"}, "/starts_at"),
        ({"ends_at": "9999-12-31T23:59:59-14:00"}, "/ends_at"),
        ({"ends_at": "2001-01-01T00:00:00Z"}, "/ends_at"),
        ({"payment_window_seconds": 0}, "/payment_window_seconds"),
        ({"items": []}, "/items"),
        ({"colour": "red"}, "/colour"),
        ({"items": [{**item, "quantity": 1.5}]}, "/items/0/quantity"),
        ({"items": [{**item, "quantity": "1"}]}, "/items/0/quantity"),
        ({"items": [{**item, "quantity": 10**9}]}, "/items/0/quantity"),
        ({"items": [{**item, "sku": "{s0}"}]}, "/items/0/sku"),
        (
            {"items": [{**item, "unit_price": {"amount": 10**18, "currency": "GBP"}}]},
            "/items/0/unit_price/amount",
        ),
        (
            {"items": [{**item, "unit_price": {"amount": 1, "currency": "£"}}]},
            "/items/0/unit_price/currency",
        ),
    ]
    for changes, pointer in bad:
        body = sale_body(**changes)
        status, problem, _ = await call(web, "POST", "/v1/admin/sales", json=body)
        assert status == 422, changes
        assert pointer in {error["pointer"] for error in problem["errors"]}, problem


async def test_a_sale_whose_answer_was_lost_is_made_once(web: Served, house: House) -> None:
    headers = {**web.bearer(Role.OPERATOR, OPERATOR_ID), "Idempotency-Key": "k"}
    body = sale_body()
    made = []
    for forgotten in (False, True, True):
        if forgotten:  # the process died between the sale and the writing down of the answer
            await house.pool.execute("DELETE FROM idempotency_keys")
        status, sale, _ = await call(web, "POST", "/v1/admin/sales", json=body, headers=headers)
        assert status == 201
        made.append(sale["sale_id"])
    assert len(set(made)) == 1
    assert await house.available("LANTERN") == COUNTED_UNITS - 10
    _, other, _ = await call(web, "POST", "/v1/admin/sales", json=body)
    assert other["sale_id"] not in made


async def test_a_sale_may_have_all_its_items(web: Served, house: House) -> None:
    skus = [f"{number:0>64}" for number in range(ITEMS_MAX + 1)]
    await house.pool.execute(
        "INSERT INTO products (sku, name, unit_price_amount, currency) "
        "SELECT sku, 'A', 1, 'GBP' FROM unnest($1::text[]) AS sku",
        skus,
    )
    item = sale_body()["items"][0]
    for count, wanted in ((ITEMS_MAX, 201), (ITEMS_MAX + 1, 422)):
        body = sale_body(items=[{**item, "sku": sku} for sku in skus[:count]])
        text = json.dumps(body, indent=8)
        headers = {"Content-Type": "application/json"}
        status, answer, _ = await call(web, "POST", "/v1/admin/sales", data=text, headers=headers)
        assert status == wanted, answer


async def test_operators_see_that_the_front_has_lost_a_sale(web: Served, house: House) -> None:
    sale = await house.opened()
    for there in (True, False):
        _, shown, _ = await call(web, "GET", f"/v1/admin/sales/{sale.sale_id}")
        _, page, _ = await call(web, "GET", "/v1/admin/sales")
        for view in (shown, page["items"][0]):
            assert (view["synced"], view["at_front"], view["rebuilding"]) == (True, there, False)
        await house.front.remove(sale.sale_id)


async def test_with_the_store_away_nobody_knows_what_is_there(
    web: Served, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = await house.opened()

    async def away(*_: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(house.front, "snapshot", away)
    status, shown, _ = await call(web, "GET", f"/v1/admin/sales/{sale.sale_id}")
    assert (status, shown["at_front"]) == (200, None)


async def test_what_is_no_id_is_not_found(web: Served) -> None:
    for sale_id in ("x", "{s0}", "%00", "a%20b", "x" * 5_000, str(new_id())):
        for path in ("/v1/sales/", "/v1/admin/sales/"):
            status, problem, _ = await call(web, "GET", path + sale_id)
            assert status == 404, problem


async def test_what_moves_stock_needs_a_key_and_a_sale_needs_an_operator(
    web: Served, house: House
) -> None:
    sale = await house.opened()
    for verb, body in (("top-up", {"sku": "LANTERN", "quantity": 1}), ("settle", None)):
        path = f"/v1/admin/sales/{sale.sale_id}/{verb}"
        status, problem, _ = await call(web, "POST", path, json=body)
        assert (status, problem["code"]) == (400, "idempotency_key_missing")
    shopper = web.bearer(Role.SHOPPER)
    status, problem, _ = await call(
        web, "POST", "/v1/admin/sales", json=sale_body(), headers=shopper
    )
    assert (status, problem["code"]) == (403, "forbidden")


async def test_with_the_store_away_shoppers_still_see_the_sale(
    house: House, stores: BreakableStores
) -> None:
    sale = await house.opened()
    there = await house.front.read(sale.sale_id)
    assert there is not None
    redis = connect_redis(stores.redis_url, timeout_seconds=0.5)
    front = SaleFront(redis, 1)
    await front.open(there)
    directory = SaleDirectory(front, refresh_seconds=0.001)
    await directory.refresh()
    async with served(routes.endpoints(directory)) as web:
        path = f"/v1/sales/{sale.sale_id}"
        await stores.store.kill()
        async with web.client.get(path) as answer:
            assert answer.status == 200
        async with web.client.get(path) as answer:
            assert answer.status == 200
            assert answer.headers["Warning"].startswith("110 ")
            assert int(answer.headers["Age"]) >= 0
        async with web.client.get(f"/v1/sales/{new_id()}") as answer:
            assert answer.status == 503
            assert (await answer.json(content_type=None))["code"] == "store_unavailable"
            assert "Retry-After" in answer.headers
    await redis.aclose()
