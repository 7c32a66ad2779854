"""The calls on products and stock over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.postgres.pool import Pool
from flashorder.inventory import routes
from flashorder.inventory.invariants import INVARIANTS
from flashorder.kernel.identifiers import new_id
from tests.infra.http.serving import Served, served

OPERATOR_ID = new_id()
MUG = {"sku": "MUG-1", "name": "Mug", "unit_price": {"amount": 499, "currency": "GBP"}}


@pytest_asyncio.fixture
async def web(pool: Pool) -> AsyncIterator[Served]:
    async with served(routes.endpoints(pool), idempotency=IdempotencyStore(pool)) as web:
        yield web


async def call(web: Served, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
    headers = {**web.bearer(Role.OPERATOR, OPERATOR_ID), **more.pop("headers", {})}
    async with web.client.request(method, f"/v1/admin{path}", headers=headers, **more) as answer:
        text = await answer.text()
        return answer.status, await answer.json(content_type=None) if text else None, answer.headers


async def test_a_product_is_created_read_changed_and_deactivated(web: Served) -> None:
    status, product, headers = await call(web, "POST", "/products", json=MUG)
    assert status == 201
    assert headers["Location"] == "/v1/admin/products/MUG-1"
    assert headers["ETag"] == '"1"'
    assert {name: product[name] for name in MUG} == MUG
    assert (product["stock_policy"], product["weight_grams"], product["active"]) == (
        "refuse",
        None,
        True,
    )
    status, problem, _ = await call(web, "POST", "/products", json=MUG)
    assert (status, problem["code"]) == (409, "sku_taken")

    first = {"If-Match": '"1"'}
    change = {"name": "Big mug", "weight_grams": 350}
    status, product, headers = await call(
        web, "PATCH", "/products/MUG-1", json=change, headers=first
    )
    assert (status, product["name"], product["weight_grams"]) == (200, "Big mug", 350)
    assert headers["ETag"] == '"2"'
    for wrong in ('"1"', "W/x", '"9999999999999"'):
        status, problem, _ = await call(
            web, "PATCH", "/products/MUG-1", json=change, headers={"If-Match": wrong}
        )
        assert (status, problem["code"]) == (412, "precondition_failed")

    replacement = {"name": "Mug", "unit_price": {"amount": 1, "currency": "GBP"}}
    status, product, _ = await call(web, "PUT", "/products/MUG-1", json=replacement)
    assert (product["weight_grams"], product["unit_price"]["amount"]) == (None, 1)

    for _ in range(2):
        status, nothing, _ = await call(web, "DELETE", "/products/MUG-1")
        assert (status, nothing) == (204, None)
    status, product, _ = await call(web, "GET", "/products/MUG-1")
    assert (product["active"], product["version"]) == (False, 4)


async def test_products_are_listed_searched_and_paged(web: Served) -> None:
    for number in range(5):
        body = {**MUG, "sku": f"S-{number}", "name": f"100% cup_{number}"}
        await call(web, "POST", "/products", json=body)
    _, page, headers = await call(web, "GET", "/products?limit=3")
    assert [product["sku"] for product in page["items"]] == ["S-0", "S-1", "S-2"]
    assert 'rel="next"' in headers["Link"]
    _, rest, _ = await call(web, "GET", f"/products?limit=3&cursor={page['next_cursor']}")
    assert [product["sku"] for product in rest["items"]] == ["S-3", "S-4"]
    for search, found in (("CUP_3", 1), ("s-", 5), ("100%25", 5), ("cup%251", 0)):
        _, page, _ = await call(web, "GET", f"/products?search={search}")
        assert len(page["items"]) == found, search
    await call(web, "DELETE", "/products/S-0")
    _, page, _ = await call(web, "GET", "/products?active=true")
    assert len(page["items"]) == 4


async def test_a_bad_product_is_a_typed_refusal(web: Served) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"sku": ""}, "/sku"),
        ({"sku": "a b"}, "/sku"),
        ({"sku": "{s0}"}, "/sku"),
        ({"sku": "A\n"}, "/sku"),
        ({"sku": "x" * 65}, "/sku"),
        ({"name": " "}, "/name"),
        ({"name": "a\0"}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"unit_price": {"amount": -1, "currency": "GBP"}}, "/unit_price/amount"),
        ({"unit_price": {"amount": 1.5, "currency": "GBP"}}, "/unit_price/amount"),
        ({"stock_policy": "maybe"}, "/stock_policy"),
        ({"weight_grams": -1}, "/weight_grams"),
        ({"colour": "red"}, "/colour"),
    ]
    for changes, pointer in bad:
        status, problem, _ = await call(web, "POST", "/products", json={**MUG, **changes})
        assert status == 422, changes
        assert pointer in {error["pointer"] for error in problem["errors"]}, problem
    for price in ({"amount": 1, "currency": "gbp"}, {"amount": 10**16, "currency": "GBP"}):
        status, _, _ = await call(web, "POST", "/products", json={**MUG, "unit_price": price})
        assert status == 422
    for method in ("GET", "PATCH", "DELETE"):
        status, problem, _ = await call(web, method, "/products/NONE", json={})
        assert (status, problem["code"]) == (404, "sku_not_found")


async def test_a_file_is_imported(web: Served) -> None:
    text = {"Content-Type": "text/csv"}
    data = b"sku,name,unit_price,currency\nMUG-1,Mug,4.99,GBP\nbad\n"
    status, report, _ = await call(web, "POST", "/products/import", data=data, headers=text)
    assert status == 200
    assert (report["created"], report["errors_total"], report["errors"][0]["line"]) == (1, 1, 3)
    status, problem, _ = await call(web, "POST", "/products/import", data=b"a,b", headers=text)
    assert (status, problem["code"]) == (422, "csv_columns_unknown")
    status, _, _ = await call(web, "POST", "/products/import", json={})
    assert status == 415


async def test_stock_is_received_adjusted_and_told_once_a_key(web: Served, pool: Pool) -> None:
    await call(web, "POST", "/products", json=MUG)
    for key, quantity in (("a", 10), ("a", 10), ("b", 5)):
        status, movement, _ = await call(
            web,
            "POST",
            "/stock/MUG-1/receive",
            json={"quantity": quantity, "reference": "note 7"},
            headers={"Idempotency-Key": key},
        )
        assert status == 201
        assert (movement["kind"], movement["quantity"]) == ("received", quantity)
    # The answer was lost and forgotten: the ledger itself knows the key.
    await pool.execute("DELETE FROM idempotency_keys")
    await call(
        web,
        "POST",
        "/stock/MUG-1/receive",
        json={"quantity": 10},
        headers={"Idempotency-Key": "a"},
    )
    status, movement, _ = await call(
        web,
        "POST",
        "/stock/MUG-1/adjust",
        json={"quantity": -4, "cause": "count"},
        headers={"Idempotency-Key": "c"},
    )
    assert (status, movement["kind"], movement["quantity"]) == (201, "adjusted", -4)
    _, level, _ = await call(web, "GET", "/stock/MUG-1")
    assert level == {
        "sku": "MUG-1",
        "name": "Mug",
        "on_hand": 11,
        "available": 11,
        "counted": True,
    }
    _, page, _ = await call(web, "GET", "/stock/movements?sku=MUG-1&limit=2")
    assert [each["quantity"] for each in page["items"]] == [-4, 5]
    _, rest, _ = await call(
        web, "GET", f"/stock/movements?sku=MUG-1&limit=2&cursor={page['next_cursor']}"
    )
    assert [each["reference"] for each in rest["items"]] == ["note 7"]
    _, page, _ = await call(web, "GET", "/stock")
    assert [each["sku"] for each in page["items"]] == ["MUG-1"]
    for invariant in INVARIANTS:
        assert await pool.fetch(invariant.sql) == []


async def test_what_cannot_be_moved_is_refused(web: Served) -> None:
    await call(web, "POST", "/products", json=MUG)
    refusals: list[tuple[str, dict[str, Any], int, str]] = [
        ("MUG-1/adjust", {"quantity": -1, "cause": "count"}, 409, "insufficient_stock"),
        ("MUG-1/adjust", {"quantity": 0, "cause": "count"}, 422, "invalid_input"),
        ("MUG-1/adjust", {"quantity": 1}, 422, "invalid_input"),
        ("MUG-1/receive", {"quantity": 0}, 422, "invalid_input"),
        ("MUG-1/receive", {"quantity": 10**9}, 422, "invalid_input"),
        ("MUG-1/receive", {"quantity": 1, "cause": "sale_promise"}, 422, "invalid_input"),
        ("NONE/receive", {"quantity": 1}, 404, "sku_not_found"),
    ]
    for number, (path, body, expected, code) in enumerate(refusals):
        key = {"Idempotency-Key": str(number)}
        status, problem, _ = await call(web, "POST", f"/stock/{path}", json=body, headers=key)
        assert (status, problem["code"]) == (expected, code), path
    status, problem, _ = await call(web, "POST", "/stock/MUG-1/receive", json={"quantity": 1})
    assert (status, problem["code"]) == (400, "idempotency_key_missing")
    status, _, _ = await call(web, "GET", "/stock/NONE")
    assert status == 404
    shopper = web.bearer(Role.SHOPPER)
    status, _, _ = await call(web, "GET", "/stock", headers=shopper)
    assert status == 403
