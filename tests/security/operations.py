"""The operations of the document, and what each test may assume of one.

Nothing here names an operation, but for the few that everybody may call: whatever the document has
gets its place in the matrix by its security, its roles and its parameters.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flashorder.kernel.roles import Role
from tests.security.service import Service

Schema = dict[str, Any]

OPEN_TO_EVERYBODY = {
    ("POST", "/v1/accounts"): "whoever signs up has no account yet",
    ("POST", "/v1/tokens"): "whoever signs in has no token yet",
    ("GET", "/v1/sales"): "sales are announced to everybody",
    ("GET", "/v1/sales/{sale_id}"): "sales are announced to everybody",
    ("POST", "/v1/webhooks/payments/{provider}"): "a provider signs the body instead",
    ("POST", "/v1/webhooks/carriers/{carrier}"): "a carrier signs the body instead",
    ("GET", "/healthz"): "says one word, to whoever watches over the process",
    ("GET", "/readyz"): "says which part is away, to whoever watches over the process",
    ("GET", "/metrics"): "numbers without names; a proxy keeps it inside (docs/deployment.md)",
    ("GET", "/openapi.json"): "the contract is public",
    ("GET", "/docs"): "the contract is public",
}

# Whom a path is for, by its beginning; the first that fits counts. It is written down beside the
# code on purpose: a route whose roles were chosen by mistake does not agree with it.
ROLES_BY_PATH: tuple[tuple[str, frozenset[Role]], ...] = (
    ("/v1/admin/shipments", frozenset({Role.OPERATOR, Role.WAREHOUSE})),
    ("/v1/admin/", frozenset({Role.OPERATOR})),
    ("/v1/sales/{sale_id}/orders", frozenset({Role.SHOPPER, Role.SERVICE})),
    ("/v1/sales/{sale_id}/receipts", frozenset({Role.SHOPPER, Role.SERVICE})),
    ("/v1/me", frozenset(Role)),
    ("/v1/orders", frozenset(Role)),
    ("/v1/tokens/current", frozenset(Role)),
)

# What the path of a call for buyers may name: a thing of somebody's, or one of everybody's.
OWNED = {"order_id": "order_not_found", "address_id": "address_not_found"}
SHARED = frozenset({"sale_id"})

_TEXTS = {
    r"^[^\x00-\x1f\x7f]*$": "words",
    r"^[^\x00]*$": "words",
    "^[A-Z]{2}$": "GB",
    "^[A-Z]{3}$": "GBP",
    r"^https?://[^\x00-\x20\x7f]+$": "https://shop.example/back",
}


@dataclass(frozen=True)
class Operation:
    """One operation: ``schema`` is that of a JSON body, None where there is none."""

    method: str
    path: str
    roles: frozenset[Role]
    secured: bool
    parameters: tuple[Schema, ...]
    media_type: str | None
    schema: Schema | None
    responses: Mapping[str, Any]
    components: Mapping[str, Schema] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names(self) -> list[str]:
        """The names of its path's parameters."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def demands_key(self) -> bool:
        """Whether an Idempotency-Key is required."""
        return any(
            each["name"] == "Idempotency-Key" and each["required"] for each in self.parameters
        )

    def url(self, values: Mapping[str, str]) -> str:
        """The path with ``values`` in it."""
        return self.path.format_map(values)

    def body(self, named: Mapping[str, Any] | None = None) -> Any:
        """A body that the schema permits; None where there is none. ``named``: fields' values."""
        if self.schema is None:
            return None
        return sample(self.schema, self.components, named or {})

    def query(self) -> dict[str, Schema]:
        """The schema of each parameter of the query."""
        return {
            each["name"]: resolve(each["schema"], self.components)
            for each in self.parameters
            if each["in"] == "query"
        }


def operations_of(service: Service) -> list[Operation]:
    """Every operation of the document of the running service."""
    document = service.document
    return [
        Operation(
            method.upper(),
            path,
            frozenset(map(Role, operation["x-roles"])),
            operation["security"] == [{"bearer": []}],
            tuple(operation["parameters"]),
            *_content(operation),
            operation["responses"],
            document["components"]["schemas"],
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def secured_operations(service: Service) -> list[Operation]:
    """Those that want a token."""
    return [each for each in operations_of(service) if each.secured]


def _content(operation: Mapping[str, Any]) -> tuple[str | None, Schema | None]:
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, described in content.items():
        return media_type, described["schema"] if media_type == "application/json" else None
    return None, None


def resolve(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    """``schema``, or what it refers to."""
    while "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    return schema


def branches(schema: Schema, components: Mapping[str, Schema]) -> Iterator[Schema]:
    """The schemas that a value may follow, null aside."""
    schema = resolve(schema, components)
    for each in schema.get("anyOf", [schema]):
        found = resolve(each, components)
        if found.get("type") != "null":
            yield found


def sample(schema: Schema, components: Mapping[str, Schema], named: Mapping[str, Any]) -> Any:
    """A value that ``schema`` permits, whole: optional fields are there as well."""
    schema = next(branches(schema, components))
    if "enum" in schema:
        return schema["enum"][0]
    if "examples" in schema:
        return schema["examples"][0]
    match schema.get("type"):
        case "object":
            return {
                name: named[name] if name in named else sample(each, components, named)
                for name, each in schema.get("properties", {}).items()
            }
        case "array":
            return [sample(schema["items"], components, named)]
        case "integer":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "string":
            return _text(schema)
    raise AssertionError(f"there is no sample of {schema}: say in tests/security how it looks")


def _text(schema: Schema) -> str:
    match schema.get("format"):
        case "uuid":
            return str(uuid.uuid4())
        case "date-time":
            return "2030-01-01T00:00:00Z"
    pattern = schema.get("pattern")
    text = _TEXTS.get(pattern, "WORDS-1") if pattern else "words"
    assert not pattern or re.search(pattern, text), f"no sample fits {pattern}: add one here"
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
