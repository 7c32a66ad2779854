"""Signing up, in and out; minted tokens."""

from __future__ import annotations

import asyncio
import time

import pytest

from flashorder.accounts.model import Tokens
from flashorder.accounts.service import AccountService
from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.errors import Conflict, InvalidInput, RateLimited, Unauthenticated
from flashorder.settings import Settings
from tests.infra.http.serving import make_settings

EMAIL, PASSWORD = "ada@example.com", "correct horse"


def authorization(tokens: Tokens) -> str:
    return f"Bearer {tokens.access_token}"


async def test_a_new_account_signs_in(
    service: AccountService, authenticator: Authenticator
) -> None:
    account = await service.create_account(EMAIL, PASSWORD, "Ada")
    tokens = await service.sign_in(EMAIL.upper(), PASSWORD)
    caller = authenticator.caller(authorization(tokens))
    assert (caller.account_id, caller.role) == (account.account_id, Role.SHOPPER)


async def test_one_account_an_email_address_even_in_a_race(service: AccountService) -> None:
    outcomes = await asyncio.gather(
        service.create_account(EMAIL, PASSWORD, "Ada"),
        service.create_account(EMAIL.title(), PASSWORD, "Ada too"),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert [each.code for each in refused] == ["email_taken"]


async def test_ensuring_an_account_twice_leaves_the_first(service: AccountService) -> None:
    first = await service.ensure_account(EMAIL, PASSWORD, "Ada", Role.OPERATOR)
    again = await service.ensure_account(EMAIL, "another one", "Eve", Role.SHOPPER)
    assert again == first
    assert await service.sign_in(EMAIL, PASSWORD)


@pytest.mark.parametrize(
    ("email", "password", "name"),
    [
        ("ada", PASSWORD, "Ada"),
        ("a b@example.com", PASSWORD, "Ada"),
        ("a@b@c", PASSWORD, "Ada"),
        (EMAIL, "short", "Ada"),
        (EMAIL, "x" * 257, "Ada"),
        (EMAIL, PASSWORD, "   "),
    ],
)
async def test_what_is_no_account_is_refused(
    service: AccountService, email: str, password: str, name: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await service.create_account(email, password, name)
    assert refusal.value.fields


async def test_a_wrong_password_and_an_unknown_address_say_the_same(
    service: AccountService,
) -> None:
    await service.create_account(EMAIL, PASSWORD, "Ada")
    refusals = []
    for email, password in ((EMAIL, "wrong horse"), ("eve@example.com", PASSWORD)):
        with pytest.raises(Unauthenticated) as refusal:
            await service.sign_in(email, password)
        refusals.append((refusal.value.code, refusal.value.detail))
    assert refusals[0] == refusals[1]
    assert refusals[0][0] == "credentials_invalid"


async def test_an_unknown_address_costs_a_password_check(service: AccountService) -> None:
    await service.create_account(EMAIL, PASSWORD, "Ada")

    async def seconds(email: str) -> float:
        began = time.process_time()
        with pytest.raises(Unauthenticated):
            await service.sign_in(email, "wrong horse")
        return time.process_time() - began

    await seconds("warm@example.com")  # makes the hash that nobody has
    known = min([await seconds(EMAIL) for _ in range(3)])
    unknown = min([await seconds("eve@example.com") for _ in range(3)])
    assert unknown > known / 3


async def test_attempts_at_one_account_are_limited_however_it_is_spelt(
    pool: Pool, authenticator: Authenticator
) -> None:
    hasty = AccountService(pool, make_settings(login_attempts_burst=2), authenticator)
    try:
        for email in (EMAIL, EMAIL.upper()):
            with pytest.raises(Unauthenticated):
                await hasty.sign_in(email, PASSWORD)
        with pytest.raises(RateLimited) as refusal:
            await hasty.sign_in(f" {EMAIL} ", PASSWORD)
        assert 0 < (refusal.value.retry_after_seconds or 0) <= 36
        with pytest.raises(Unauthenticated):
            await hasty.sign_in("eve@example.com", PASSWORD)
    finally:
        hasty.close()


async def test_a_refresh_token_is_for_one_use(
    service: AccountService, authenticator: Authenticator
) -> None:
    await service.create_account(EMAIL, PASSWORD, "Ada")
    first = await service.sign_in(EMAIL, PASSWORD)
    second = await service.refresh(first.refresh_token)
    third = await service.refresh(second.refresh_token)
    assert authenticator.caller(authorization(third))
    # The first again: stolen, or its thief was first. The whole session ends.
    with pytest.raises(Unauthenticated):
        await service.refresh(first.refresh_token)
    with pytest.raises(Unauthenticated):
        await service.refresh(third.refresh_token)
    with pytest.raises(Unauthenticated) as refusal:
        authenticator.caller(authorization(third))
    assert refusal.value.code == "token_invalid"


async def test_two_uses_of_a_refresh_token_at_once_give_one_successor(
    service: AccountService,
) -> None:
    await service.create_account(EMAIL, PASSWORD, "Ada")
    first = await service.sign_in(EMAIL, PASSWORD)
    outcomes = await asyncio.gather(
        *(service.refresh(first.refresh_token) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Tokens) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Unauthenticated) for outcome in outcomes) == 1


async def test_an_unknown_refresh_token_is_refused(service: AccountService) -> None:
    with pytest.raises(Unauthenticated):
        await service.refresh("made up")


async def test_an_ended_session_is_refused_in_another_worker(
    service: AccountService, settings: Settings, pool: Pool, authenticator: Authenticator
) -> None:
    await service.create_account(EMAIL, PASSWORD, "Ada")
    tokens = await service.sign_in(EMAIL, PASSWORD)
    elsewhere = Authenticator.of(settings)
    other = AccountService(pool, settings, elsewhere)
    try:
        caller = elsewhere.caller(authorization(tokens))
        await service.sign_out(caller)
        with pytest.raises(Unauthenticated):
            authenticator.caller(authorization(tokens))
        await other.tell_ended_sessions()
        with pytest.raises(Unauthenticated):
            elsewhere.caller(authorization(tokens))
        with pytest.raises(Unauthenticated):
            await service.refresh(tokens.refresh_token)
    finally:
        other.close()


async def test_minted_tokens_are_of_distinct_buyers_and_can_be_ended(
    service: AccountService, authenticator: Authenticator, pool: Pool
) -> None:
    began = time.perf_counter()
    tokens = [token async for batch in service.mint_tokens(6_000) for token in batch]
    rate = len(tokens) / (time.perf_counter() - began)
    callers = [authenticator.caller(f"Bearer {token}") for token in tokens]
    assert len({caller.account_id for caller in callers}) == 6_000
    assert await pool.fetchval("SELECT count(*) FROM accounts WHERE password_hash IS NULL") == 6_000
    assert rate > 2_000
    await service.sign_out(callers[0])
    await service.tell_ended_sessions()
    with pytest.raises(Unauthenticated):
        authenticator.caller(f"Bearer {tokens[0]}")
    assert authenticator.caller(f"Bearer {tokens[1]}")


async def test_what_is_over_is_forgotten(service: AccountService, pool: Pool) -> None:
    await service.create_account(EMAIL, PASSWORD, "Ada")
    await service.sign_in(EMAIL, PASSWORD)
    kept = await service.sign_in(EMAIL, PASSWORD)
    assert await service.forget_sessions() == 0
    await pool.execute(
        "UPDATE sessions SET ended_at = now() - interval '2 days', end_reason = 'signed_out' "
        "WHERE session_id = (SELECT min(session_id::text)::uuid FROM sessions)"
    )
    assert await service.forget_sessions() == 1
    assert await pool.fetchval("SELECT count(*) FROM sessions") == 1
    assert await pool.fetchval("SELECT count(*) FROM refresh_tokens") == 1
    assert kept
