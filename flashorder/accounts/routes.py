"""Accounts over HTTP."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from flashorder.accounts.model import Account, Address, AddressParts, refused
from flashorder.accounts.service import AccountService
from flashorder.infra.http.endpoint import ANY_ROLE, Call, Endpoint, Reply
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.infra.http.preconditions import etag, expected_version
from flashorder.infra.http.rate_limits import RateLimit
from flashorder.kernel.roles import Role
from flashorder.settings import Settings

TAG = "accounts"
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class SignUp(msgspec.Struct, forbid_unknown_fields=True):
    """A new shopper."""

    email: Annotated[str, msgspec.Meta(max_length=254)]
    password: Annotated[str, msgspec.Meta(max_length=256)]
    name: Line


class SignedUp(msgspec.Struct):
    """The account that was made."""

    account_id: uuid.UUID


class Credentials(msgspec.Struct, forbid_unknown_fields=True):
    """E-mail address and password, or a refresh token."""

    email: Annotated[str, msgspec.Meta(max_length=254)] | None = None
    password: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    refresh_token: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class TokensView(msgspec.Struct):
    """RFC 6749, section 5.1; ``expires_in`` is seconds."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str


class AccountView(msgspec.Struct):
    """An account as its owner sees it."""

    account_id: uuid.UUID
    email: str
    role: Role
    name: str
    version: int
    created_at: datetime


class AccountEdit(msgspec.Struct, forbid_unknown_fields=True):
    """What an owner may change."""

    name: Line


class AddressBody(msgspec.Struct, forbid_unknown_fields=True):
    """Where parcels go; ``country`` is ISO 3166-1 alpha-2."""

    recipient: Line
    line1: Line
    city: Short
    postal_code: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    line2: Line | None = None
    region: Short | None = None
    phone: Annotated[str, msgspec.Meta(min_length=3, max_length=32)] | None = None


class AddressView(msgspec.Struct):
    """An address in the book."""

    address_id: uuid.UUID
    recipient: str
    line1: str
    line2: str | None
    city: str
    region: str | None
    postal_code: str
    country: str
    phone: str | None
    version: int


class AddressPage(msgspec.Struct):
    """A page of the book."""

    items: list[AddressView]
    next_cursor: str | None


class AccountRoutes:
    """Translates; the service decides."""

    def __init__(self, service: AccountService) -> None:
        self._service = service

    async def sign_up(self, call: Call) -> Reply:
        body: SignUp = call.body
        account = await self._service.create_account(body.email, body.password, body.name)
        return Reply(201, SignedUp(account.account_id), {"Location": "/v1/me"})

    async def sign_in(self, call: Call) -> Reply:
        match call.body:
            case Credentials(email=str(email), password=str(password), refresh_token=None):
                tokens = await self._service.sign_in(email, password)
            case Credentials(email=None, password=None, refresh_token=str(refresh_token)):
                tokens = await self._service.refresh(refresh_token)
            case _:
                raise refused("", "must be either email and password, or refresh_token")
        return Reply(
            200,
            TokensView(
                tokens.access_token, "Bearer", tokens.expires_in_seconds, tokens.refresh_token
            ),
        )

    async def sign_out(self, call: Call) -> Reply:
        await self._service.sign_out(call.caller)
        return Reply(204)

    async def me(self, call: Call) -> Reply:
        return _account_reply(await self._service.read_account(call.caller.account_id))

    async def edit_me(self, call: Call) -> Reply:
        return _account_reply(
            await self._service.rename_account(
                call.caller.account_id, call.body.name, expected_version(call)
            )
        )

    async def list_addresses(self, call: Call) -> Reply:
        after = read_cursor(call.query.cursor, (uuid.UUID,))
        found = await self._service.list_addresses(
            call.caller.account_id, after[0] if after else None, call.query.limit + 1
        )
        return page_reply(call, found, key=lambda each: [each.address_id], show=_address_view)

    async def add_address(self, call: Call) -> Reply:
        address = await self._service.add_address(call.caller.account_id, _parts(call.body))
        location = f"/v1/me/addresses/{address.address_id}"
        return _address_reply(201, address, {"Location": location})

    async def read_address(self, call: Call) -> Reply:
        address = await self._service.read_address(
            call.caller.account_id, call.path_id("address_id")
        )
        return _address_reply(200, address)

    async def replace_address(self, call: Call) -> Reply:
        address = await self._service.replace_address(
            call.caller.account_id,
            call.path_id("address_id"),
            _parts(call.body),
            expected_version(call),
        )
        return _address_reply(200, address)

    async def remove_address(self, call: Call) -> Reply:
        await self._service.remove_address(
            call.caller.account_id, call.path_id("address_id"), expected_version(call)
        )
        return Reply(204)


def endpoints(service: AccountService, settings: Settings) -> list[Endpoint]:
    """The calls of this room."""
    routes = AccountRoutes(service)
    per_minute = settings.login_attempts_per_address_per_minute
    attempts = RateLimit("sign-in", per_minute / 60, per_minute)
    return [*_account_endpoints(routes, attempts), *_address_endpoints(routes)]


def _account_endpoints(routes: AccountRoutes, attempts: RateLimit) -> list[Endpoint]:
    busy = {503: ("overloaded", "database_unavailable")}
    return [
        Endpoint(
            "POST", "/v1/accounts", routes.sign_up, "Sign up", TAG,
            body=SignUp, replies={201: SignedUp}, headers=("Location",),
            problems={409: ("email_taken",), **busy}, limit=attempts,
        ),
        Endpoint(
            "POST", "/v1/tokens", routes.sign_in, "Sign in, or stay signed in", TAG,
            body=Credentials, replies={200: TokensView},
            problems={401: ("credentials_invalid", "token_invalid"), **busy},
            description="A refresh token is for one use: its answer brings the next one.",
            limit=attempts,
        ),
        Endpoint(
            "DELETE", "/v1/tokens/current", routes.sign_out, "Sign out", TAG,
            roles=ANY_ROLE, replies={204: None}, problems={503: ("database_unavailable",)},
        ),
        Endpoint(
            "GET", "/v1/me", routes.me, "Who I am", TAG,
            roles=ANY_ROLE, replies={200: AccountView}, headers=("ETag",),
            problems={404: ("account_not_found",), 503: ("database_unavailable",)},
        ),
        Endpoint(
            "PUT", "/v1/me", routes.edit_me, "Change my name", TAG,
            roles=ANY_ROLE, body=AccountEdit, replies={200: AccountView}, headers=("ETag",),
            problems={
                404: ("account_not_found",),
                412: ("precondition_failed",),
                503: ("database_unavailable",),
            },
        ),
    ]  # fmt: skip


def _address_endpoints(routes: AccountRoutes) -> list[Endpoint]:
    away = {503: ("database_unavailable",)}
    one = {404: ("address_not_found",), **away}
    edited = {412: ("precondition_failed",), **one}
    path = "/v1/me/addresses"
    return [
        Endpoint(
            "GET", path, routes.list_addresses, "My addresses", TAG,
            roles=ANY_ROLE, query=PageQuery, replies={200: AddressPage},
            problems=away,
        ),
        Endpoint(
            "POST", path, routes.add_address, "Add an address", TAG,
            roles=ANY_ROLE, body=AddressBody, replies={201: AddressView},
            headers=("ETag", "Location"),
            problems={404: ("account_not_found",), 409: ("address_book_full",), **away},
        ),
        Endpoint(
            "GET", path + "/{address_id}", routes.read_address, "One of my addresses", TAG,
            roles=ANY_ROLE, replies={200: AddressView}, headers=("ETag",), problems=one,
        ),
        Endpoint(
            "PUT", path + "/{address_id}", routes.replace_address, "Replace an address", TAG,
            roles=ANY_ROLE, body=AddressBody, replies={200: AddressView},
            headers=("ETag",), problems=edited,
        ),
        Endpoint(
            "DELETE", path + "/{address_id}", routes.remove_address, "Remove an address", TAG,
            roles=ANY_ROLE, replies={204: None}, problems=edited,
        ),
    ]  # fmt: skip


def _account_reply(account: Account) -> Reply:
    view = AccountView(
        account.account_id,
        account.email,
        account.role,
        account.name,
        account.version,
        account.created_at,
    )
    return Reply(200, view, etag(account.version))


def _address_reply(status: int, address: Address, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, _address_view(address), {**etag(address.version), **(headers or {})})


def _address_view(address: Address) -> AddressView:
    parts = msgspec.structs.asdict(
        msgspec.convert(address.parts, AddressBody, from_attributes=True)
    )
    return AddressView(address_id=address.address_id, version=address.version, **parts)


def _parts(body: AddressBody) -> AddressParts:
    return AddressParts(**msgspec.structs.asdict(body))
