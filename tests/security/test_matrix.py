"""API9:2023 Improper inventory management, and that the matrix of the other tests has no hole.

What stands for it: the document is what the router serves, in both directions; nothing answers
beside it; every operation is either open to everybody, for a reason that is written down, or wants
a token of named roles, and each thing that its path names is either somebody's or everybody's, so
that a new operation is either covered by test_authentication, test_object_level,
test_function_level and test_property_level, or makes a test here fail.
"""

from __future__ import annotations

from flashorder.kernel.roles import Role
from tests.security.client import Client
from tests.security.operations import (
    OPEN_TO_EVERYBODY,
    OWNED,
    ROLES_BY_PATH,
    SHARED,
    operations_of,
)
from tests.security.service import Service

NOWHERE = [
    "/v0/orders", "/v2/orders", "/v1", "/v1/", "/V1/me", "/v1/me/", "//v1/me", "/v1//me",
    "/admin", "/v1/admin", "/v1/admin/", "/v1/admin/accounts", "/v1/accounts", "/debug", "/.env",
    "/.git/HEAD", "/metrics/", "/openapi.yaml", "/docs/", "/console", "/server-status",
    "/v1/tokens", "/v1/orders/../admin/orders", "/v1/orders/%2e%2e/admin/orders",
    "/static/../../etc/passwd",
]  # fmt: skip


def test_the_document_is_what_the_router_serves(service: Service) -> None:
    documented = {(each.method, each.path) for each in operations_of(service)}
    routed = {route for route in service.routes if route[0] not in ("HEAD", "*")}
    assert documented == routed


def test_who_may_call_without_a_token_is_written_down(service: Service) -> None:
    public = {(each.method, each.path) for each in operations_of(service) if not each.secured}
    assert public == set(OPEN_TO_EVERYBODY)


def test_every_operation_names_the_roles_that_its_path_is_for(service: Service) -> None:
    for operation in operations_of(service):
        if not operation.secured:
            assert not operation.roles, operation
            continue
        wanted = next(
            (roles for start, roles in ROLES_BY_PATH if operation.path.startswith(start)), None
        )
        assert wanted is not None, f"{operation}: say in ROLES_BY_PATH whom it is for"
        assert operation.roles == wanted, operation


def test_every_thing_that_a_path_names_has_a_place(service: Service) -> None:
    for operation in operations_of(service):
        for name in operation.names:
            assert name in service.scene.values, f"{operation}: the scene has no {name}"
            if operation.secured and Role.SHOPPER in operation.roles:
                assert (name in OWNED) != (name in SHARED), f"{operation}: whose is {name}?"


def test_every_body_has_a_sample(service: Service) -> None:
    for operation in operations_of(service):
        if operation.media_type == "application/json":
            assert isinstance(operation.body(), dict), operation


async def test_nothing_answers_beside_the_document(client: Client) -> None:
    for path in NOWHERE:
        answer = await client.call("GET", path, token=client.service.scene.tokens[Role.OPERATOR])
        assert answer.status in (404, 405), (path, answer.status)
