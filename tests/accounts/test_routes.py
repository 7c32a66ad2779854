"""The calls of the room, over a real socket."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from flashorder.accounts.model import ADDRESSES_MAX
from flashorder.accounts.routes import endpoints
from flashorder.accounts.service import AccountService
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.postgres.pool import Pool
from tests.infra.http.serving import Served, make_settings, served

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
HOME = {
    "recipient": "Ada Lovelace",
    "line1": "12 St James's Square",
    "city": "London",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
}


@pytest_asyncio.fixture
async def site(pool: Pool) -> AsyncIterator[Served]:
    """The room's endpoints, served."""
    settings = make_settings(buyer_requests_burst=1000)
    authenticator = Authenticator.of(settings)
    service = AccountService(pool, settings, authenticator)
    routes = endpoints(service, settings)
    async with served(routes, settings=settings, authenticator=authenticator) as up:
        yield up
    service.close()


async def call(
    site: Served, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
) -> tuple[int, Any, Mapping[str, str]]:
    async with site.client.request(method, path, headers=headers, **options) as answer:
        body = await answer.json(content_type=None) if answer.content_length else None
        return answer.status, body, answer.headers


async def signed_in(site: Served) -> dict[str, str]:
    status, body, _ = await call(site, "POST", "/v1/accounts", json=ADA)
    assert (status, list(body)) == (201, ["account_id"])
    credentials = {name: ADA[name] for name in ("email", "password")}
    status, body, _ = await call(site, "POST", "/v1/tokens", json=credentials)
    assert status == 200
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 3600
    return {"Authorization": f"Bearer {body['access_token']}"}


async def test_from_signing_up_to_signing_out(site: Served) -> None:
    headers = await signed_in(site)
    status, body, _ = await call(site, "GET", "/v1/me", headers)
    assert (status, body["email"], body["role"], body["name"]) == (
        200, "ada@example.com", "shopper", "Ada",
    )  # fmt: skip
    assert (await call(site, "DELETE", "/v1/tokens/current", headers))[0] == 204
    status, body, answered = await call(site, "GET", "/v1/me", headers)
    assert (status, body["code"]) == (401, "token_invalid")
    assert "invalid_token" in answered["WWW-Authenticate"]


async def test_a_second_account_for_one_address_is_a_conflict(site: Served) -> None:
    await signed_in(site)
    status, body, _ = await call(site, "POST", "/v1/accounts", json=ADA)
    assert (status, body["code"]) == (409, "email_taken")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"email": "ada@example.com", "password": "wrong horse"}, 401, "credentials_invalid"),
        ({"refresh_token": "made up"}, 401, "token_invalid"),
        ({"email": "ada@example.com"}, 422, "invalid_input"),
        ({"email": "a@b.c", "password": "x", "refresh_token": "y"}, 422, "invalid_input"),
        ({"email": 1, "password": "x"}, 422, "invalid_input"),
        ({"user": "ada"}, 422, "invalid_input"),
    ],
)
async def test_what_signs_nobody_in(site: Served, body: Any, status: int, code: str) -> None:
    answered, problem, _ = await call(site, "POST", "/v1/tokens", json=body)
    assert (answered, problem["code"]) == (status, code)


async def test_a_refresh_token_brings_the_next_one(site: Served) -> None:
    await signed_in(site)
    credentials = {name: ADA[name] for name in ("email", "password")}
    _, first, _ = await call(site, "POST", "/v1/tokens", json=credentials)
    again = {"refresh_token": first["refresh_token"]}
    status, second, _ = await call(site, "POST", "/v1/tokens", json=again)
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert (await call(site, "POST", "/v1/tokens", json=again))[0] == 401


async def test_a_name_is_edited_only_at_the_version_that_was_read(site: Served) -> None:
    headers = await signed_in(site)
    _, _, answered = await call(site, "GET", "/v1/me", headers)
    guarded = {**headers, "If-Match": answered["ETag"]}
    status, body, _ = await call(site, "PUT", "/v1/me", guarded, json={"name": "Countess"})
    assert (status, body["name"], body["version"]) == (200, "Countess", 2)
    status, body, _ = await call(site, "PUT", "/v1/me", guarded, json={"name": "Late"})
    assert (status, body["code"]) == (412, "precondition_failed")
    unknown = {**headers, "If-Match": 'W/"x"'}
    assert (await call(site, "PUT", "/v1/me", unknown, json={"name": "Odd"}))[0] == 412
    assert (await call(site, "PUT", "/v1/me", headers, json={"name": "Any"}))[0] == 200


async def test_an_address_from_the_first_line_to_its_removal(site: Served) -> None:
    headers = await signed_in(site)
    status, made, answered = await call(site, "POST", "/v1/me/addresses", headers, json=HOME)
    assert status == 201
    path = answered["Location"]
    status, read, answered = await call(site, "GET", path, headers)
    assert (status, read) == (200, made)
    guarded = {**headers, "If-Match": answered["ETag"]}
    moved = {**HOME, "line1": "5 Portman Square", "line2": "Second floor"}
    status, edited, _ = await call(site, "PUT", path, guarded, json=moved)
    assert (status, edited["line1"], edited["version"]) == (200, "5 Portman Square", 2)
    assert (await call(site, "PUT", path, guarded, json=HOME))[0] == 412
    assert (await call(site, "DELETE", path, guarded))[0] == 412
    assert (await call(site, "DELETE", path, headers))[0] == 204
    status, body, _ = await call(site, "GET", path, headers)
    assert (status, body["code"]) == (404, "address_not_found")


async def test_somebody_elses_address_does_not_exist(site: Served) -> None:
    headers = await signed_in(site)
    _, _, answered = await call(site, "POST", "/v1/me/addresses", headers, json=HOME)
    path = answered["Location"]
    stranger = site.bearer(account_id=uuid.uuid4())
    for method, options in (("GET", {}), ("PUT", {"json": HOME}), ("DELETE", {})):
        status, body, _ = await call(site, method, path, stranger, **options)
        assert (status, body["code"]) == (404, "address_not_found")
    assert (await call(site, "GET", path, headers))[0] == 200


async def test_the_book_is_paged_and_has_an_end(site: Served) -> None:
    headers = await signed_in(site)
    for number in range(ADDRESSES_MAX):
        home = {**HOME, "line1": f"Number {number}"}
        assert (await call(site, "POST", "/v1/me/addresses", headers, json=home))[0] == 201
    status, body, _ = await call(site, "POST", "/v1/me/addresses", headers, json=HOME)
    assert (status, body["code"]) == (409, "address_book_full")
    path: str | None = "/v1/me/addresses?limit=20"
    lines = []
    while path:
        _, body, answered = await call(site, "GET", path, headers)
        lines += [each["line1"] for each in body["items"]]
        link = answered.get("Link", "")
        path = link.partition(">")[0].removeprefix("<") or None
        assert bool(path) == bool(body["next_cursor"])
    assert lines == [f"Number {number}" for number in range(ADDRESSES_MAX)]
    status, body, _ = await call(site, "GET", "/v1/me/addresses?cursor=xyz", headers)
    assert (status, body["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize(
    ("edit", "pointer"),
    [
        ({"country": "XX"}, "/country"),
        ({"country": "gb"}, "/country"),
        ({"city": " "}, "/city"),
        ({"postal_code": ""}, "/postal_code"),
        ({"recipient": "\0"}, "/recipient"),
        ({"planet": "Earth"}, "/planet"),
        ({"line1": "x" * 201}, "/line1"),
    ],
)
async def test_what_is_no_address(site: Served, edit: dict[str, str], pointer: str) -> None:
    headers = site.bearer()
    status, body, _ = await call(site, "POST", "/v1/me/addresses", headers, json={**HOME, **edit})
    assert status == 422
    assert [each["pointer"] for each in body["errors"]] == [pointer]


async def test_a_token_without_an_account_finds_none(site: Served) -> None:
    for method, path, options in (
        ("GET", "/v1/me", {}),
        ("PUT", "/v1/me", {"json": {"name": "Nobody"}}),
        ("POST", "/v1/me/addresses", {"json": HOME}),
    ):
        status, body, _ = await call(site, method, path, site.bearer(), **options)
        assert (status, body["code"]) == (404, "account_not_found")
