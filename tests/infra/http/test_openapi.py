"""The document against the router, in both directions, and against the specification."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from flashorder.infra.http.application import build_application
from flashorder.infra.http.endpoint import ANY_ROLE, Call, Endpoint, MoneyBody, Reply, Role
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.http.openapi import openapi_document, route_template
from flashorder.infra.http.pagination import PageQuery
from flashorder.infra.http.tokens import Authenticator
from tests.infra.http.serving import make_settings, served


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=1)]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    lines: list[Line]
    total: MoneyBody | None = None


class Search(PageQuery, forbid_unknown_fields=True):
    status: str | None = None


async def handler(call: Call) -> Reply:
    return Reply(200)


ENDPOINTS = [
    Endpoint("GET", "/v1/orders", handler, "Orders", "orders", roles=ANY_ROLE, query=Search,
             replies={200: list[Order]}),
    Endpoint("POST", "/v1/orders", handler, "Order", "orders", roles=frozenset({Role.SHOPPER}),
             body=Order, replies={201: Order}, problems={409: ("sold_out",), 425: ("too_early",)},
             idempotency_key=True),
    Endpoint("POST", "/v1/orders/{order_id}/cancel", handler, "Cancel", "orders",
             roles=frozenset({Role.OPERATOR}), replies={200: None}, idempotent=True),
    Endpoint("POST", "/v1/hooks/{provider:[a-z]+}", handler, "Hook", "hooks", raw_body=True,
             replies={204: None}),
]  # fmt: skip


def operations_of(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }


async def test_the_document_is_the_router() -> None:
    app = build_application(
        ENDPOINTS,
        settings=make_settings(),
        authenticator=Authenticator.of(make_settings()),
        idempotency=IdempotencyStore(None),  # type: ignore[arg-type]
    )
    routed = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "*")
    }
    everything = [
        *ENDPOINTS,
        *(Endpoint("GET", path, handler, "s", "t") for path in
          ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")),
    ]  # fmt: skip
    assert routed == {(each.method, route_template(each.path)) for each in everything}
    async with served([each for each in ENDPOINTS if not each.idempotent]) as site:
        async with site.client.get("/openapi.json") as answer:
            document = await answer.json()
        assert operations_of(document) == routed - {("POST", "/v1/orders/{order_id}/cancel")}
        OpenAPIV31SpecValidator(document).validate()


def test_an_operation_says_everything_that_the_record_says() -> None:
    document = openapi_document(ENDPOINTS)
    OpenAPIV31SpecValidator(document).validate()
    order = document["paths"]["/v1/orders"]["post"]
    assert order["security"] == [{"bearer": []}]
    assert "`shopper`" in order["description"]
    assert order["x-roles"] == ["shopper"]
    assert [each["name"] for each in order["parameters"]] == ["Idempotency-Key"]
    assert order["requestBody"]["required"] is True
    codes = {
        status: response["x-problem-codes"]
        for status, response in order["responses"].items()
        if "x-problem-codes" in response
    }
    assert codes["409"] == ["sold_out"]
    assert "idempotency_key_missing" in codes["400"]
    assert {"401", "403", "408", "413", "415", "422", "425", "429", "500"} <= set(codes)
    search = document["paths"]["/v1/orders"]["get"]
    assert {each["name"] for each in search["parameters"]} == {"limit", "cursor", "status"}
    assert "invalid_cursor" in search["responses"]["422"]["x-problem-codes"]
    assert "requestBody" not in search
    hook = document["paths"]["/v1/hooks/{provider}"]["post"]
    assert (hook["security"], hook["x-roles"]) == ([], [])
    assert hook["requestBody"]["content"] == {"application/json": {"schema": {}}}
    assert set(document["components"]["schemas"]) == {
        "FieldError", "Line", "MoneyBody", "Order", "Problem",
    }  # fmt: skip


def test_what_follows_from_the_record_is_said_without_being_declared() -> None:
    document = openapi_document([
        *ENDPOINTS,
        Endpoint("PUT", "/v1/me", handler, "s", "t", roles=ANY_ROLE, body=Line, headers=("ETag",),
                 replies={200: Line}, problems={412: ("precondition_failed",)}),
        Endpoint("GET", "/healthz", handler, "s", "t", operational=True),
        Endpoint("POST", "/v1/buy", handler, "s", "t", roles=ANY_ROLE, replies={202: Line},
                 headers=("Location",), problems={503: ("store_unavailable",)}),
    ])  # fmt: skip
    OpenAPIV31SpecValidator(document).validate()
    paths = document["paths"]

    def headers(path: str, method: str, status: int) -> set[str]:
        return set(paths[path][method]["responses"][str(status)].get("headers", {}))

    limits = {"RateLimit", "RateLimit-Policy"}
    edit, health, buy = paths["/v1/me"]["put"], paths["/healthz"]["get"], paths["/v1/buy"]["post"]
    assert [each["name"] for each in edit["parameters"]] == ["If-Match"]
    assert headers("/v1/me", "put", 200) == {"ETag", *limits}
    assert headers("/v1/me", "put", 401) == {"WWW-Authenticate", *limits}
    assert headers("/v1/orders", "get", 200) == {"Link", *limits}
    assert headers("/v1/buy", "post", 202) == {
        "Location", "Retry-After", "Idempotency-Replayed", *limits,
    }  # fmt: skip
    assert headers("/v1/buy", "post", 429) >= {"Retry-After", *limits}
    assert set(health["responses"]) == {"200", "500"}
    assert buy["responses"]["503"]["x-problem-codes"][:3] == [
        "unavailable", "overloaded", "database_unavailable",
    ]  # fmt: skip
    assert "malformed_request" in paths["/v1/orders"]["get"]["responses"]["400"]["x-problem-codes"]
    assert {"400", "408", "413", "415", "422"} <= set(buy["responses"])
    assert "requestBody" not in buy


def test_operation_ids_are_unique() -> None:
    document = openapi_document(ENDPOINTS)
    ids = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    ]
    assert len(set(ids)) == len(ids)


def test_an_endpoint_that_is_there_twice_is_refused() -> None:
    with pytest.raises(AssertionError, match="twice"):
        build_application(
            [ENDPOINTS[0], ENDPOINTS[0]],
            settings=make_settings(),
            authenticator=Authenticator.of(make_settings()),
        )


async def test_the_page_for_people_needs_nobody_else() -> None:
    async with served([]) as site, site.client.get("/docs") as answer:
        page = await answer.text()
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "sha256-" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
        assert "/openapi.json" in page
