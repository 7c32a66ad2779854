"""API5:2023 Broken function level authorization.

What stands for it: every operation by every role that it does not name is refused with 403, on
things that exist, with a body that would do, and nothing is written in either store; a shopper is
refused what is for the staff even about the shopper's own things; nothing in a request but the
token's role decides. Which roles an operation should name is held by test_matrix.
"""

from __future__ import annotations

import asyncio

from flashorder.kernel.roles import Role
from tests.journeys.system import Answer
from tests.security.client import Client
from tests.security.fingerprints import unchanged
from tests.security.operations import Operation, secured_operations

CLAIMS = {
    "X-Role": "operator", "X-Roles": "operator,admin", "X-Admin": "true", "X-User-Role": "operator",
    "X-Original-Url": "/v1/me", "X-Rewrite-Url": "/v1/me", "X-Forwarded-For": "127.0.0.1",
    "X-Http-Method-Override": "GET", "X-Forwarded-Host": "localhost", "Role": "operator",
}  # fmt: skip


def forbidden(operation: Operation, answer: Answer) -> None:
    assert (answer.status, answer.code) == (403, "forbidden"), f"{operation}: {answer.body}"
    named = answer.body["detail"]
    assert all(role in named for role in operation.roles), named


async def test_no_role_may_call_what_does_not_name_it(client: Client) -> None:
    """Every operation by every other role, with and without headers that claim another."""
    scene = client.service.scene
    tried = 0

    async def is_refused(operation: Operation, token: str, headers: dict[str, str]) -> None:
        path = operation.url(scene.values)
        answer = await client.call(
            operation.method, path, operation.body(), token=token, headers=headers
        )
        forbidden(operation, answer)

    async with unchanged(client.service):
        for operation in secured_operations(client.service):
            tokens = [scene.tokens[role] for role in set(Role) - operation.roles]
            if Role.SHOPPER not in operation.roles:
                tokens += [scene.ada.token, scene.bob.token]
            calls = [(token, headers) for token in tokens for headers in ({}, CLAIMS)]
            await asyncio.gather(*(is_refused(operation, *call) for call in calls))
            tried += len(calls)
    assert tried > 400


async def test_a_role_opens_what_names_it(client: Client) -> None:
    """Or else the test above would pass where nobody is let in at all."""
    scene = client.service.scene
    for operation in secured_operations(client.service):
        if operation.method != "GET" or operation.path.endswith("/stream"):
            continue
        owned = "/v1/admin" not in operation.path and "{" in operation.path
        for role in operation.roles:
            token = scene.ada.token if owned else scene.tokens[role]
            answer = await client.call("GET", operation.url(scene.values), token=token)
            assert answer.status == 200, (str(operation), role, answer.body)
