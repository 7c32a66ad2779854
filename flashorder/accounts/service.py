"""Use cases of accounts: sign up, sign in and out, address book, tokens for load tests."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import structlog

from flashorder.accounts.model import (
    ADDRESSES_MAX,
    Account,
    Address,
    AddressParts,
    Tokens,
    checked_address,
    checked_email,
    checked_name,
    checked_password,
)
from flashorder.accounts.passwords import Passwords
from flashorder.accounts.store import AccountStore
from flashorder.infra.http.endpoint import Caller
from flashorder.infra.http.rate_limits import RateLimit
from flashorder.infra.http.tokens import Authenticator, TokenSigner
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.errors import Conflict, NotFound, PreconditionFailed, Unauthenticated
from flashorder.kernel.identifiers import new_id, parse_id
from flashorder.kernel.roles import Role
from flashorder.settings import Settings

log = structlog.get_logger(__name__)

REFRESH_TOKEN_BYTES: Final = 32
MINTED_BATCH_TOKENS: Final = 5_000
# Longer than any two clocks of a deployment differ.
CLOCK_GRACE_SECONDS: Final = 60


class AccountService:
    """``close`` ends the threads that hash passwords; the pool belongs to whoever passed it in."""

    def __init__(self, pool: Pool, settings: Settings, authenticator: Authenticator) -> None:
        self._store = AccountStore(pool)
        self._signer = TokenSigner.of(settings)
        self._authenticator = authenticator
        self._passwords = Passwords(at_once=settings.password_hashes_at_once)
        self._access_seconds = settings.access_token_seconds
        self._refresh_seconds = settings.refresh_token_seconds
        self._attempts = RateLimit(
            "account", settings.login_attempts_per_hour / 3600, settings.login_attempts_burst
        )

    def close(self) -> None:
        """End the threads."""
        self._passwords.close()

    # -- accounts

    async def create_account(
        self, email: str, password: str, name: str, role: Role = Role.SHOPPER
    ) -> Account:
        """A new account. ``InvalidInput`` for what it cannot be, ``Conflict`` ``email_taken``."""
        account = await self._insert(
            checked_email(email), checked_password(password), checked_name(name), role
        )
        if account is None:
            raise Conflict("An account with this e-mail address exists.", code="email_taken")
        return account

    async def ensure_account(self, email: str, password: str, name: str, role: Role) -> Account:
        """The account of ``email``: created, or as it is if it was there. Idempotent."""
        found = await self._store.find_account(checked_email(email))
        if found is None:
            account = await self._insert(
                checked_email(email), checked_password(password), checked_name(name), role
            )
            if account is not None:
                return account
            # Somebody else was faster by a moment.
            found = await self._store.find_account(email)
            assert found is not None, "accounts are never deleted"
        return found[0]

    async def _insert(self, email: str, password: str, name: str, role: Role) -> Account | None:
        kept = await self._passwords.hash(password)
        return await self._store.insert_account(new_id(), email, kept, role, name)

    async def read_account(self, account_id: uuid.UUID) -> Account:
        """One account; ``NotFound`` (``account_not_found``)."""
        account = await self._store.read_account(account_id)
        if account is None:
            raise NotFound(code="account_not_found")
        return account

    async def rename_account(
        self, account_id: uuid.UUID, name: str, version: int | None
    ) -> Account:
        """Another name; ``PreconditionFailed`` when the account is not at ``version``."""
        account = await self._store.rename_account(account_id, checked_name(name), version)
        if account is None:
            await self.read_account(account_id)
            raise PreconditionFailed
        return account

    # -- sessions

    async def sign_in(self, email: str, password: str) -> Tokens:
        """Tokens of a new session; ``Unauthenticated`` (``credentials_invalid``) otherwise.

        An address without an account and a wrong password take the same time and say the same.
        """
        self._attempts.take(email.strip().lower()[:256])
        found = await self._store.find_account(email.strip())
        account, kept = found if found is not None else (None, None)
        matches = await self._passwords.matches(password, kept)
        if account is None or not matches:
            raise Unauthenticated(
                "There is no account with this e-mail address and password.",
                code="credentials_invalid",
            )
        session_id = uuid.uuid4()
        refresh_token = secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
        await self._store.begin_session(
            session_id, account.account_id, _hashed(refresh_token), self._refresh_seconds
        )
        return self._tokens(account.account_id, account.role, session_id, refresh_token)

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token, which is used up; ``Unauthenticated`` otherwise.

        One that comes a second time was stolen, or its thief was first: its session ends.
        """
        presented = _hashed(refresh_token)
        successor = secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
        used = await self._store.use_refresh_token(
            presented, _hashed(successor), self._refresh_seconds
        )
        if used is None:
            ended = await self._store.end_reused_session(presented)
            if ended is not None:
                self._authenticator.revoke(str(ended))
                log.warning("refresh_token_reused", session_id=str(ended))
            raise Unauthenticated("The refresh token is not valid.", code="token_invalid")
        session_id, account_id, role = used
        return self._tokens(account_id, role, session_id, successor)

    async def sign_out(self, caller: Caller) -> None:
        """End the caller's session: here at once, in other workers at their next look."""
        session_id = parse_id(caller.session_id)
        assert session_id is not None, "tokens are signed by us, and their sessions are UUIDs"
        await self._store.end_session(session_id, caller.account_id, self._access_seconds)
        self._authenticator.revoke(caller.session_id)

    async def tell_ended_sessions(self) -> int:
        """Let the authenticator know which sessions have ended."""
        ended = await self._store.read_ended_sessions(self._access_seconds + CLOCK_GRACE_SECONDS)
        self._authenticator.replace_revoked(ended)
        return 0

    async def forget_sessions(self) -> int:
        """Remove a bounded number of sessions that are over; how many."""
        return await self._store.forget(self._access_seconds + CLOCK_GRACE_SECONDS)

    async def mint_tokens(
        self, count: int, role: Role = Role.SHOPPER, *, lifetime_seconds: int | None = None
    ) -> AsyncIterator[list[str]]:
        """Access tokens of ``count`` new accounts that nobody can sign in to, batch by batch."""
        left = count
        while left > 0:
            batch = [new_id() for _ in range(min(left, MINTED_BATCH_TOKENS))]
            await self._store.insert_minted(
                [(each, f"minted-{each}@load-test.invalid", role, "Minted") for each in batch]
            )
            yield [
                self._signer.sign(each, role, str(uuid.uuid4()), lifetime_seconds=lifetime_seconds)
                for each in batch
            ]
            left -= len(batch)

    def _tokens(
        self, account_id: uuid.UUID, role: Role, session_id: uuid.UUID, refresh_token: str
    ) -> Tokens:
        access_token = self._signer.sign(account_id, role, str(session_id))
        return Tokens(access_token, self._access_seconds, refresh_token)

    # -- addresses

    async def add_address(self, account_id: uuid.UUID, parts: AddressParts) -> Address:
        """A new address in the book; ``Conflict`` (``address_book_full``).

        ``NotFound`` (``account_not_found``) for a token whose account is not there.
        """
        checked = checked_address(parts)
        try:
            address = await self._store.insert_address(new_id(), account_id, checked)
        except asyncpg.ForeignKeyViolationError:
            raise NotFound(code="account_not_found") from None
        if address is None:
            raise Conflict(
                f"The address book is full: it holds {ADDRESSES_MAX}.", code="address_book_full"
            )
        return address

    async def list_addresses(
        self, account_id: uuid.UUID, after: uuid.UUID | None, limit: int
    ) -> list[Address]:
        """Up to ``limit`` addresses behind ``after``."""
        return await self._store.list_addresses(account_id, after, limit)

    async def find_address(self, account_id: uuid.UUID, address_id: uuid.UUID) -> Address | None:
        """An address of this account, for rooms that ship."""
        return await self._store.read_address(address_id, account_id)

    async def read_address(self, account_id: uuid.UUID, address_id: uuid.UUID) -> Address:
        """An address of this account; ``NotFound`` (``address_not_found``)."""
        address = await self.find_address(account_id, address_id)
        if address is None:
            raise NotFound(code="address_not_found")
        return address

    async def replace_address(
        self,
        account_id: uuid.UUID,
        address_id: uuid.UUID,
        parts: AddressParts,
        version: int | None,
    ) -> Address:
        """Other parts; ``NotFound``, or ``PreconditionFailed`` when it is not at ``version``."""
        address = await self._store.update_address(
            address_id, account_id, checked_address(parts), version
        )
        if address is None:
            await self.read_address(account_id, address_id)
            raise PreconditionFailed
        return address

    async def remove_address(
        self, account_id: uuid.UUID, address_id: uuid.UUID, version: int | None
    ) -> None:
        """Remove it; ``NotFound``, or ``PreconditionFailed`` when it is not at ``version``."""
        if not await self._store.delete_address(address_id, account_id, version):
            await self.read_address(account_id, address_id)
            raise PreconditionFailed


def _hashed(refresh_token: str) -> bytes:
    """What is kept of a refresh token; it is random, so one round of SHA-256 suffices."""
    return hashlib.sha256(refresh_token.encode()).digest()
