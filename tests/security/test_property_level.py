"""API3:2023 Broken object property level authorization.

What stands for it: mass assignment, that is every object in every body by names that a caller would
like to set (role, status, price, version, …) is refused with 422 that points at the name, and
nothing is written in either store; so is a body where none is wanted, and a name in a query that
the document does not know. And excessive exposure: what every reading answers has no field that the
document does not name, and no answer of any test of this room holds a password, its hash, a token
of somebody, or a key of the service (tests/security/hygiene.py).
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from flashorder.kernel.roles import Role
from tests.security.client import Client
from tests.security.fingerprints import unchanged
from tests.security.operations import Operation, operations_of
from tests.security.scene import Scene

WISHES: dict[str, Any] = {
    "role": "operator", "status": "paid", "state": "paid", "price": 1, "total": 0, "discount": 100,
    "unit_price": {"amount": 1, "currency": "GBP"}, "amount": {"amount": 1, "currency": "GBP"},
    "account_id": "00000000-0000-0000-0000-000000000000", "buyer_id": 1, "order_id": "x", "id": 1,
    "version": 0, "is_admin": True, "verified": True, "paid": True, "stock": 10**6,
    "per_buyer_limit": 10**6, "created_at": "2000-01-01T00:00:00Z", "payment_due_at": None,
    "password_hash": "x", "remaining": 1, "quantity": 10**6, "": 1, "Role": "operator",
    "role ": "operator", "__proto__": {"role": "operator"}, "constructor": {}, "$where": "1",
}  # fmt: skip


def caller_of(operation: Operation, scene: Scene) -> str | None:
    """A token that the operation lets in; Ada's, where it is for buyers."""
    if not operation.secured:
        return None
    role = next(iter(sorted(operation.roles)))
    return scene.ada.token if Role.SHOPPER in operation.roles else scene.tokens[role]


def objects_in(value: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in ``value`` with its JSON pointer."""
    if isinstance(value, dict):
        yield pointer, value
        for name, each in value.items():
            yield from objects_in(each, f"{pointer}/{name}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from objects_in(each, f"{pointer}/{index}")


def assignments(body: Any) -> Iterator[tuple[str, Any]]:
    """Bodies with one wish too many, and where it stands."""
    for pointer, found in objects_in(body):
        for name, wish in WISHES.items():
            if name not in found:
                wished = copy.deepcopy(body)
                target = next(each for place, each in objects_in(wished) if place == pointer)
                target[name] = wish
                yield f"{pointer}/{name}", wished


async def test_no_body_takes_a_field_that_it_does_not_name(client: Client) -> None:
    scene = client.service.scene
    tried = 0

    async def is_refused(operation: Operation, pointer: str, body: Any) -> None:
        path = operation.url(scene.values)
        token = caller_of(operation, scene)
        answer = await client.call(operation.method, path, body, token=token)
        where = f"{operation}, {pointer}: {answer.status} {answer.body}"
        assert (answer.status, answer.code) == (422, "invalid_input"), where
        (error,) = answer.body["errors"]
        assert (error["code"], error["pointer"]) == ("unknown_field", pointer), where

    async with unchanged(client.service):
        for operation in operations_of(client.service):
            if operation.media_type not in (None, "application/json") or operation.method == "GET":
                continue
            # A call that wants no body takes an empty one.
            body = operation.body() if operation.media_type else {}
            wishes = list(assignments(body))
            await asyncio.gather(*(is_refused(operation, *wish) for wish in wishes))
            tried += len(wishes)
    assert tried > 800


async def test_no_query_takes_a_name_that_it_does_not_know(client: Client) -> None:
    scene = client.service.scene
    for operation in operations_of(client.service):
        if not operation.query():
            continue
        for name in (
            "role",
            "buyer",
            "account_id",
            "include",
            "fields",
            "sort",
            "LIMIT",
            "limit[]",
        ):
            path = f"{operation.url(scene.values)}?{name}=operator"
            answer = await client.call("GET", path, token=caller_of(operation, scene))
            assert (answer.status, answer.code) == (422, "invalid_input"), (str(operation), name)
            assert answer.body["errors"][0]["code"] == "unknown_field"


async def test_no_reading_tells_more_than_the_document_names(client: Client) -> None:
    scene = client.service.scene
    document = client.service.document
    strict = closed({"components": {"schemas": document["components"]["schemas"]}})
    read = 0
    for operation in operations_of(client.service):
        content = operation.responses["200" if "200" in operation.responses else "201"].get(
            "content", {}
        ) if {"200", "201"} & operation.responses.keys() else {}  # fmt: skip
        if operation.method != "GET" or "application/json" not in content:
            continue
        token = caller_of(operation, scene)
        if operation.path == "/v1/admin/outbox":
            path = f"{operation.path}?status=failing"
        else:
            path = operation.url(scene.values)
        answer = await client.call("GET", path, token=token)
        assert answer.status == 200, (str(operation), answer.body)
        schema = closed(content["application/json"]["schema"]) | strict
        Draft202012Validator(schema).validate(answer.body)
        assert answer.body.get("items") != [], f"{operation} shows nothing to be held to it"
        read += 1
    assert read >= 25


async def test_problems_tell_no_more_than_the_document_names(client: Client) -> None:
    """Each problem that this room meets; here, one of each kind of refusal."""
    schema = client.service.document["components"]["schemas"]["Problem"]
    known = set(schema["properties"])
    for method, path, body in (
        ("GET", "/v1/me", None), ("POST", "/v1/accounts", {"name": 1}), ("GET", "/nowhere", None),
        ("PUT", "/v1/sales", None), ("GET", "/v1/sales?limit=0", None),
    ):  # fmt: skip
        answer = await client.call(method, path, body)
        assert answer.status >= 400
        assert set(answer.body) <= known


def closed(schema: Any) -> Any:
    """``schema``, in which an object has the properties that it names, and no other."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {name: closed(each) for name, each in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict):
        shut.setdefault("additionalProperties", False)
    return shut
