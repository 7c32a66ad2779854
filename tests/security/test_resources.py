"""API4:2023 Unrestricted resource consumption.

What stands for it: every operation that reads a body refuses one that is too large before it is
read (413), announced or in chunks; deep JSON and endless numbers are refused as bad input; pages
have a size; every number, text and list that a body or query takes has a bound in the document,
and the value beyond it is refused. The limits of requests an address, a buyer and an account are
held by tests/infra/http/test_rate_limits.py and tests/journeys/test_contract.py, slow and idle
connections by tests/infra/http/test_server.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.security.client import Client
from tests.security.fingerprints import unchanged
from tests.security.operations import Operation, Schema, branches, operations_of, resolve
from tests.security.raw import raw
from tests.security.service import Service
from tests.security.test_property_level import caller_of

# What takes more than others, and how much; everything else has the bound of the settings.
LARGER_BYTES = {
    "/v1/admin/sales": 128 * 1024,
    "/v1/admin/products/import": 16 * 1024 * 1024,
}
# Lists that are short by their nature, so that they have no pages: what bounds them.
WITHOUT_PAGES = {
    "/v1/orders/{order_id}/payments": "payment_attempts_max",
    "/v1/sales/{sale_id}": "the items of a sale, ITEMS_MAX",
    "/v1/admin/sales/{sale_id}": "the items of a sale, ITEMS_MAX",
    "/v1/admin/reconciliations/{reconciliation_id}": "the items of the sales at the front",
}
WRONG_SIZES = ("0", "-1", "201", "9" * 20, "1e2", "1.0", "ten", "", "0x10", "%D9%A3", "+1")
WRONG_CURSORS = ("x", "W10", "A" * 1025, "%00", "bnVsbA", "W1tdXQ", "W251bGxd", "WyJcdTAwMDAiXQ")
DEEP = {
    "arrays": b"[" * 8_000,
    "closed arrays": b"[" * 4_000 + b"]" * 4_000,
    "objects": b'{"a":' * 2_500,
    "closed objects": b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
}


def with_body(service: Service) -> list[Operation]:
    """Operations that look at a body, be it only to refuse it."""
    return [each for each in operations_of(service) if each.method != "GET"]


def bytes_max(operation: Operation, service: Service) -> int:
    """How large its body may be."""
    return LARGER_BYTES.get(operation.path, service.settings.body_bytes_max)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
async def test_a_body_that_is_too_large_is_not_read(client: Client, announced: bool) -> None:
    service, scene = client.service, client.service.scene

    async def is_refused(operation: Operation) -> None:
        size = bytes_max(operation, service) + 1
        token = caller_of(operation, scene)
        head = (
            f"{operation.method} {operation.url(scene.values)} HTTP/1.1\r\nHost: x\r\n"
            f"Idempotency-Key: k\r\nContent-Type: {operation.media_type or 'application/json'}\r\n"
            + (f"Authorization: Bearer {token}\r\n" if token else "")
        ).replace("*/*", "application/json")
        if announced:
            sent = f"{head}Content-Length: {size}\r\n\r\n".encode()
        else:
            chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
            sent = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk
        answer = await raw(service, sent)
        assert answer.status == 413, (str(operation), answer)
        assert b"payload_too_large" in answer.body
        assert answer.headers["Connection"] == "close"

    async with unchanged(service):
        await asyncio.gather(*map(is_refused, with_body(service)))


async def test_deep_json_is_bad_input(client: Client) -> None:
    scene = client.service.scene
    async with unchanged(client.service):
        for operation in with_body(client.service):
            if operation.media_type not in (None, "application/json"):
                continue
            for name, data in DEEP.items():
                answer = await client.call(
                    operation.method,
                    operation.url(scene.values),
                    token=caller_of(operation, scene),
                    data=data,
                    headers={"Content-Type": "application/json"},
                )
                assert answer.status in (400, 422), (str(operation), name, answer.body)


async def test_deep_json_within_a_field_is_bad_input(client: Client) -> None:
    scene = client.service.scene
    nested: Any = []
    for _ in range(900):
        nested = [nested]
    async with unchanged(client.service):
        for operation in with_body(client.service):
            body = operation.body()
            for name in body or ():
                answer = await client.call(
                    operation.method,
                    operation.url(scene.values),
                    {**body, name: nested},
                    token=caller_of(operation, scene),
                )
                assert answer.status == 422, (str(operation), name, answer.body)


async def test_a_page_has_a_size(client: Client) -> None:
    scene = client.service.scene
    seen = 0
    for operation in operations_of(client.service):
        limit = operation.query().get("limit")
        if limit is None:
            continue
        seen += 1
        path, token = operation.url(scene.values), caller_of(operation, scene)
        for size in WRONG_SIZES:
            answer = await client.call("GET", f"{path}?limit={size}", token=token)
            assert (answer.status, answer.code) == (422, "invalid_input"), (str(operation), size)
        for cursor in WRONG_CURSORS:
            answer = await client.call("GET", f"{path}?cursor={cursor}", token=token)
            assert answer.status == 422, (str(operation), cursor, answer.body)
        whole = await client.call("GET", f"{path}?limit=200", token=token)
        assert whole.status == 200
    assert seen >= 12


def test_every_list_has_pages(service: Service) -> None:
    for operation in operations_of(service):
        content = operation.responses.get("200", {}).get("content", {}).get("application/json")
        if operation.method != "GET" or content is None:
            continue
        shown = resolve(content["schema"], operation.components)
        if "items" in shown.get("properties", {}) and operation.path not in WITHOUT_PAGES:
            assert {"limit", "cursor"} <= operation.query().keys(), operation
            assert "next_cursor" in shown["properties"], operation


# -- bounds


def leaves(
    schema: Schema, components: Mapping[str, Schema], pointer: str = ""
) -> Iterator[tuple[str, Schema]]:
    """Every schema of a value that is not an object, with its JSON pointer in the body."""
    for found in branches(schema, components):
        for name, each in found.get("properties", {}).items():
            yield from leaves(each, components, f"{pointer}/{name}")
        if found.get("type") == "array":
            yield pointer, found
            yield from leaves(found["items"], components, f"{pointer}/0")
        elif "properties" not in found:
            yield pointer, found


def is_bounded(schema: Schema) -> bool:
    match schema.get("type"):
        case "integer" | "number":
            return "minimum" in schema and "maximum" in schema
        case "array":
            return "maxItems" in schema
        case "string":
            return (
                "maxLength" in schema
                or "enum" in schema
                or schema.get("format") in ("uuid", "date-time")
                or is_of_fixed_length(schema.get("pattern", ""))
            )
    return schema.get("type") == "boolean" or "enum" in schema


def is_of_fixed_length(pattern: str) -> bool:
    return pattern in ("^[A-Z]{2}$", "^[A-Z]{3}$", r'^("[0-9]{1,9}"|\*)$')


def test_whatever_comes_in_has_a_bound_in_the_document(service: Service) -> None:
    unbounded = []
    for operation in operations_of(service):
        if operation.schema is not None:
            unbounded += [
                f"{operation} {pointer}: {schema}"
                for pointer, schema in leaves(operation.schema, operation.components)
                if not is_bounded(schema)
            ]
        for parameter in operation.parameters:
            if parameter["in"] in ("query", "header"):
                unbounded += [
                    f"{operation} {parameter['name']}: {schema}"
                    for schema in branches(parameter["schema"], operation.components)
                    if not is_bounded(schema)
                ]
    assert not unbounded, "\n".join(unbounded)


def beyond(schema: Schema) -> Iterator[Any]:
    """Values that ``schema`` does not permit, though some are of its type."""
    match schema.get("type"):
        case "integer":
            yield from (schema["minimum"] - 1, schema["maximum"] + 1, 2**63, -(2**63) - 1, 2**64)
            yield from (10**400, 0.5, "1", True, [1], {"amount": 1})
        case "string":
            if "maxLength" in schema:
                yield "x" * (schema["maxLength"] + 1)
            yield from ("x" * 12_000, 1, True, ["x"], {"x": "x"}, {"$gt": ""})
        case "array":
            yield from ({}, "x", 1, [None])
        case "boolean":
            yield from (1, 0, "true", "yes", [], {})


def replaced(body: Any, pointer: str, value: Any) -> Any:
    """A copy of ``body`` with ``value`` at ``pointer``."""
    body = json.loads(json.dumps(body))
    *steps, last = pointer.split("/")[1:]
    target = body
    for step in steps:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if isinstance(target, list):
        target[int(last)] = value
    else:
        target[last] = value
    return body


async def test_what_is_beyond_its_bound_is_refused(client: Client) -> None:
    scene = client.service.scene
    tried = 0

    async def is_refused(operation: Operation, pointer: str, value: Any) -> None:
        body = replaced(operation.body(), pointer, value)
        answer = await client.call(
            operation.method,
            operation.url(scene.values),
            body,
            token=caller_of(operation, scene),
        )
        where = f"{operation} {pointer} = {str(value)[:40]}: {answer.status} {answer.body}"
        assert (answer.status, answer.code) == (422, "invalid_input"), where

    async with unchanged(client.service):
        for operation in operations_of(client.service):
            if operation.schema is None:
                continue
            bad = [
                (operation, pointer, value)
                for pointer, schema in leaves(operation.schema, operation.components)
                for value in beyond(schema)
            ]
            await asyncio.gather(*(is_refused(*each) for each in bad))
            tried += len(bad)
    assert tried > 300
