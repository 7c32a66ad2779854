"""The OpenAPI 3.1 document, made of the same records as the router."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from flashorder import __version__
from flashorder.infra.http.bodies import may_be_empty
from flashorder.infra.http.endpoint import ANY_ROLE, Endpoint
from flashorder.infra.http.idempotency import KEY_CHARACTERS_MAX
from flashorder.infra.http.problems import PROBLEM_JSON, RETRY_AFTER_SECONDS, Problem, title_of

_PATH_NAME = re.compile(r"{([a-z_]+)(?::[^{}]*)?}")
_REFERENCE: Final = "#/components/schemas/{name}"
_PROBLEM: Final = {PROBLEM_JSON: {"schema": {"$ref": _REFERENCE.format(name="Problem")}}}
# Those that every answer has which can have them.
_ALWAYS: Final = ("Content-Security-Policy", "ETag", "Location", "Retry-After", "WWW-Authenticate")
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    name: {"description": description, "required": name in _ALWAYS, "schema": schema}
    for name, description, schema in (
        ("Age", "Seconds since this was true.", {"type": "integer", "minimum": 0}),
        ("Content-Security-Policy", "What the page may do.", {"type": "string"}),
        ("ETag", "The version, for If-Match.", {"type": "string", "pattern": '^"[0-9]+"$'}),
        (
            "Idempotency-Replayed",
            "`true` when this is the first answer again.",
            {"type": "string", "const": "true"},
        ),
        ("Link", 'The next page, with `rel="next"`; missing on the last.', {"type": "string"}),
        ("Location", "Where to read what was made.", {"type": "string", "format": "uri-reference"}),
        (
            "RateLimit",
            'What is left: `"name";r=requests;t=seconds` until all are back.',
            {"type": "string"},
        ),
        ("RateLimit-Policy", 'The limit: `"name";q=requests;w=seconds`.', {"type": "string"}),
        (
            "Retry-After",
            "Seconds until it is worth asking again.",
            {"type": "integer", "minimum": 1},
        ),
        ("Warning", "That this may no longer be true.", {"type": "string"}),
        ("WWW-Authenticate", "RFC 6750, section 3.", {"type": "string"}),
    )
}
_STORES: Final = frozenset({"database_unavailable", "store_unavailable"})
_LIMITED: Final = ("RateLimit", "RateLimit-Policy")
_DESCRIPTION: Final = """\
Flash-sale orders: from the click to the parcel.

Money is `{"amount", "currency"}` in minor units (ISO 4217). Times are RFC 3339 in UTC. Ids are
opaque strings. Unknown fields are refused. Errors are problem details (RFC 9457): rely on `code`.
Lists are pages: follow `next_cursor`, or the `Link` header."""


def route_template(path: str) -> str:
    """``/v1/orders/{order_id}``: a router's path without the patterns in it."""
    return _PATH_NAME.sub(r"{\1}", path)


def openapi_document(endpoints: Sequence[Endpoint], *, server_url: str = "/") -> dict[str, Any]:
    """The document that describes exactly ``endpoints``."""
    schemas, components = _schemas(endpoints)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(route_template(endpoint.path), {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flashorder",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url}],
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in endpoints)],
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def problem_codes(endpoint: Endpoint) -> dict[int, list[str]]:
    """Every problem that a call can meet, by status: the mechanism's and the endpoint's own."""
    codes: dict[int, list[str]] = {}
    for given in (_admission_problems(endpoint), _reading_problems(endpoint), endpoint.problems):
        for status, more in given.items():
            known = codes.setdefault(status, [])
            known.extend(code for code in more if code not in known)
    return dict(sorted(codes.items()))


def _admission_problems(endpoint: Endpoint) -> dict[int, tuple[str, ...]]:
    codes: dict[int, tuple[str, ...]] = {500: ("internal_error",)}
    if not endpoint.operational:
        # A head that is too long, above all a query, is refused before it is looked at.
        codes[400] = ("malformed_request",)
        codes[429] = ("rate_limited",)
        # Where an endpoint does not name the store that it stands on, it may be either.
        named = _STORES.intersection(endpoint.problems.get(503, ()))
        codes[503] = ("unavailable", "overloaded", *(() if named else sorted(_STORES)))
    if endpoint.roles:
        codes[401] = ("unauthenticated", "token_invalid", "token_expired")
    if endpoint.roles and endpoint.roles != ANY_ROLE:
        codes[403] = ("forbidden",)
    if _PATH_NAME.search(endpoint.path):
        codes[404] = ("not_found",)
    return codes


def _reading_problems(endpoint: Endpoint) -> dict[int, tuple[str, ...]]:
    codes: defaultdict[int, tuple[str, ...]] = defaultdict(tuple)
    if endpoint.reads_body:
        codes[400] = ("malformed_request",)
        codes[408] = ("request_timeout",)
        codes[413] = ("payload_too_large",)
        codes[415] = ("unsupported_media_type",)
    if (endpoint.reads_body and not endpoint.raw_body) or endpoint.query is not None:
        codes[422] = ("invalid_input",)
    if _is_paged(endpoint):
        codes[422] += ("invalid_cursor",)
    if endpoint.demands_key:
        codes[400] += ("idempotency_key_missing",)
    if endpoint.demands_key or endpoint.replays:
        codes[400] += ("idempotency_key_invalid",)
        codes[422] += ("idempotency_key_reused",)
    if endpoint.replays:
        codes[409] = ("idempotency_in_flight",)
        codes[503] = ("database_unavailable",)
    return codes


def _is_paged(endpoint: Endpoint) -> bool:
    return endpoint.query is not None and "cursor" in endpoint.query.__struct_fields__


def reply_headers(endpoint: Endpoint, status: int) -> list[str]:
    """What a success may say in its head, beside what every answer says."""
    names = list(endpoint.headers)
    if status == 202:
        names.append("Retry-After")
    if _is_paged(endpoint):
        names.append("Link")
    if endpoint.demands_key or endpoint.replays:
        names.append("Idempotency-Replayed")
    return sorted([*names, *(() if endpoint.operational else _LIMITED)])


def problem_headers(endpoint: Endpoint, status: int) -> list[str]:
    """What a problem may say in its head, beside what every answer says."""
    names = [] if endpoint.operational else list(_LIMITED)
    if status == 401:
        names.append("WWW-Authenticate")
    if status in RETRY_AFTER_SECONDS:
        names.append("Retry-After")
    if endpoint.replays and status < 500:
        names.append("Idempotency-Replayed")
    return sorted(names)


def _operation(endpoint: Endpoint, schemas: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": _described(endpoint),
        "parameters": _parameters(endpoint, schemas),
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.body is not None or endpoint.raw_body:
        schema = schemas[endpoint.body] if endpoint.body is not None else {}
        operation["requestBody"] = {
            "required": endpoint.raw_body or not may_be_empty(endpoint.body),
            "content": {endpoint.content_type: {"schema": schema}},
        }
    operation["security"] = [{"bearer": []}] if endpoint.roles else []
    operation["x-roles"] = sorted(endpoint.roles)
    return operation


def _responses(endpoint: Endpoint, schemas: dict[Any, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, type_ in endpoint.replies.items():
        response: dict[str, Any] = {"description": "Done." if status < 300 else "Look elsewhere."}
        if type_ is not None:
            response["content"] = {endpoint.reply_content_type: {"schema": schemas[type_]}}
        _add_headers(response, reply_headers(endpoint, status))
        responses[str(status)] = response
    for status, codes in problem_codes(endpoint).items():
        response = {
            "description": "; ".join(f"`{code}`: {title_of(code)}" for code in codes),
            "content": _PROBLEM,
            "x-problem-codes": codes,
        }
        _add_headers(response, problem_headers(endpoint, status))
        # A success and a problem under one status would be two answers to one question.
        assert str(status) not in responses, f"{endpoint.path}: {status} is declared twice"
        responses[str(status)] = response
    return responses


def _add_headers(response: dict[str, Any], names: Iterable[str]) -> None:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    if headers:
        response["headers"] = headers


def _parameters(endpoint: Endpoint, schemas: dict[Any, Any]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_NAME.findall(endpoint.path)
    ]
    if endpoint.query is not None:
        parameters += [
            {
                "name": field.encode_name,
                "in": "query",
                "required": field.required,
                "schema": schemas[field.type],
            }
            for field in msgspec.structs.fields(endpoint.query)
        ]
    if 412 in endpoint.problems:
        parameters.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "description": "The ETag of what was read: nothing is changed if it has moved on.",
                "schema": {"type": "string", "pattern": r'^("[0-9]{1,9}"|\*)$'},
            }
        )
    if endpoint.demands_key or endpoint.replays:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": endpoint.demands_key,
                "description": "Names this intent: the same key again gives the same answer.",
                "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX},
            }
        )
    return parameters


def _described(endpoint: Endpoint) -> str:
    if not endpoint.roles:
        who = "For everybody."
    elif endpoint.roles == ANY_ROLE:
        who = "For every signed-in caller."
    else:
        who = "For the role " + " or ".join(f"`{role}`" for role in sorted(endpoint.roles)) + "."
    return f"{endpoint.description}\n\n{who}".strip()


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"[A-Za-z0-9]+", route_template(endpoint.path).removeprefix("/v1"))
    return "_".join([endpoint.method.lower(), *words])


def _schemas(endpoints: Iterable[Endpoint]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """A schema for each type that the endpoints mention, and the components they refer to."""
    types: dict[Any, None] = {Problem: None}
    for endpoint in endpoints:
        types.update({type_: None for type_ in endpoint.replies.values() if type_ is not None})
        if endpoint.body is not None:
            types[endpoint.body] = None
        if endpoint.query is not None:
            types.update({each.type: None for each in msgspec.structs.fields(endpoint.query)})
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    return dict(zip(types, schemas, strict=True)), components
