"""API2:2023 Broken authentication.

What stands for it: every operation that wants a token refuses every forgery with 401, the code that
fits and a challenge (RFC 6750), and nothing is written in either store; a session that was ended
opens nothing, a refresh token is for one use; guessing is slowed down for each account, and neither
what is said nor how long it takes tells whether there is such an account. Webhooks, which are
authenticated by a signature, are in test_webhooks.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from flashorder.infra.http.tokens import TokenSigner
from flashorder.kernel.roles import Role
from tests.security.client import Client
from tests.security.fingerprints import unchanged
from tests.security.forgeries import INVALID, NONE, Forgery, forgeries
from tests.security.newcomer import Newcomer
from tests.security.operations import Operation, secured_operations
from tests.security.scene import PASSWORD

Place = tuple[Operation, str, Any]
"""An operation, and the path and the body that it is called with."""


async def refuses(client: Client, place: Place, forgery: Forgery) -> None:
    operation, path, body = place
    what, headers, code = forgery
    answer = await client.call(operation.method, path, body, headers=headers)
    where = f"{operation}, {what}"
    assert (answer.status, answer.code) == (401, code), f"{where}: {answer.status} {answer.body}"
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="flashorder"'), where
    assert ('error="invalid_token"' in challenge) == (code != NONE), where


async def refused_everywhere(client: Client, tried: Sequence[Forgery]) -> None:
    """Every operation by every forgery, on things that exist."""
    service = client.service
    places = [
        (operation, operation.url(service.scene.values), operation.body())
        for operation in secured_operations(service)
    ]
    assert len(places) > 50
    async with unchanged(service):
        for forgery in tried:
            await asyncio.gather(*(refuses(client, place, forgery) for place in places))


async def test_no_operation_lets_a_forgery_in(client: Client) -> None:
    service = client.service
    signer = TokenSigner.of(service.settings)
    tried = list(forgeries(signer, service.scene.tokens[Role.SHOPPER]))
    assert len({what for what, _, _ in tried}) == len(tried) > 80
    await refused_everywhere(client, tried)


async def test_a_token_is_read_from_its_header_alone(client: Client) -> None:
    token = client.service.scene.bob.token
    for operation in secured_operations(client.service):
        path = operation.url(client.service.scene.values)
        for name in ("access_token", "token", "Authorization"):
            answer = await client.call(operation.method, f"{path}?{name}={token}", operation.body())
            assert (answer.status, answer.code) == (401, NONE), (str(operation), name)


async def test_an_ended_session_opens_nothing(client: Client) -> None:
    person = await Newcomer.arrive(client)
    token = (await person.sign_in())["access_token"]
    assert (await client.call("GET", "/v1/me", token=token)).status == 200
    assert (await client.call("DELETE", "/v1/tokens/current", token=token)).status == 204
    ended: Forgery = ("session ended", {"Authorization": f"Bearer {token}"}, INVALID)
    await refused_everywhere(client, [ended])


async def test_a_refresh_token_is_for_one_use_and_a_second_one_ends_the_session(
    client: Client,
) -> None:
    person = await Newcomer.arrive(client)
    first = await person.sign_in()
    second = await client.call("POST", "/v1/tokens", {"refresh_token": first["refresh_token"]})
    assert second.status == 200
    for stolen in (first["refresh_token"], second.body["refresh_token"]):
        again = await client.call("POST", "/v1/tokens", {"refresh_token": stolen})
        assert (again.status, again.code) == (401, INVALID)
    for token in (first["access_token"], second.body["access_token"]):
        answer = await client.call("GET", "/v1/me", token=token)
        assert (answer.status, answer.code) == (401, INVALID)


async def test_a_refresh_token_of_an_ended_session_is_void(client: Client) -> None:
    person = await Newcomer.arrive(client)
    tokens = await person.sign_in()
    await client.call("DELETE", "/v1/tokens/current", token=tokens["access_token"])
    again = await client.call("POST", "/v1/tokens", {"refresh_token": tokens["refresh_token"]})
    assert (again.status, again.code) == (401, INVALID)


async def test_guessing_at_one_account_is_held_up_however_it_is_spelt(client: Client) -> None:
    person = await Newcomer.arrive(client)
    spellings = [person.email, person.email.upper(), f" {person.email}", f"{person.email}\t"]
    guesses = client.service.settings.login_attempts_burst
    answers = [
        await client.call(
            "POST",
            "/v1/tokens",
            {"email": spellings[number % len(spellings)], "password": f"guess {number}"},
        )
        for number in range(guesses)
    ]
    assert {answer.status for answer in answers} == {401}
    for spelling in spellings:
        held = await client.call("POST", "/v1/tokens", {"email": spelling, "password": PASSWORD})
        assert (held.status, held.code) == (429, "rate_limited")
        assert int(held.headers["Retry-After"]) >= 1
    # Nobody else has to wait for it.
    other = await Newcomer.arrive(client)
    assert "access_token" in await other.sign_in()


async def test_nothing_tells_whether_there_is_such_an_account(client: Client) -> None:
    person = await Newcomer.arrive(client)
    emails = {"known": person.email, "unknown": f"{uuid.uuid4().hex}@shop.example"}
    said: dict[str, Any] = {}
    shortest_seconds = dict.fromkeys(emails, math.inf)
    for _ in range(5):  # in turn, so that both meet the same weather; the shortest has least of it
        for who, email in emails.items():
            began = time.perf_counter()
            answer = await client.call("POST", "/v1/tokens", {"email": email, "password": "wrong"})
            took = time.perf_counter() - began
            shortest_seconds[who] = min(shortest_seconds[who], took)
            assert (answer.status, answer.code) == (401, "credentials_invalid")
            said[who] = {key: value for key, value in answer.body.items() if key != "trace_id"}
    assert said["known"] == said["unknown"]
    ratio = shortest_seconds["unknown"] / shortest_seconds["known"]
    # Without the work done for nothing, an unknown address is told in a tenth of the time.
    assert 0.4 < ratio < 2.5, shortest_seconds


@pytest.mark.parametrize(
    "password", ["", "short", "x" * 257, "x" * 10_000, 12345678, None, ["a" * 12], {"$ne": ""}]
)
async def test_a_password_has_a_length(client: Client, password: Any) -> None:
    answer = await client.call(
        "POST",
        "/v1/accounts",
        {"email": f"{uuid.uuid4().hex}@shop.example", "password": password, "name": "N"},
    )
    assert answer.status == 422, answer.body
