"""Accounts, sessions and addresses in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from flashorder.accounts.model import ADDRESSES_MAX, Account, Address, AddressParts
from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.infra.postgres.sql import load_sql
from flashorder.kernel.roles import Role

FORGOTTEN_MAX = 1000
_SQL = load_sql("flashorder.accounts")


class AccountStore:
    """One statement a method; None where there is no such row, or its guard did not hold."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def insert_account(
        self, account_id: uuid.UUID, email: str, password_hash: str | None, role: Role, name: str
    ) -> Account | None:
        """A new account; None when the e-mail address is taken."""
        return _account(
            await self._row("insert_account", account_id, email, password_hash, role, name)
        )

    async def insert_minted(self, accounts: Sequence[tuple[uuid.UUID, str, Role, str]]) -> None:
        """Many accounts (id, e-mail address, role, name) at once, without passwords."""
        with database_failures():
            await self._pool.copy_records_to_table(
                "accounts", records=accounts, columns=["account_id", "email", "role", "name"]
            )

    async def read_account(self, account_id: uuid.UUID) -> Account | None:
        """One account."""
        return _account(await self._row("read_account", account_id))

    async def find_account(self, email: str) -> tuple[Account, str | None] | None:
        """The account of an e-mail address, and its password's hash."""
        row = await self._row("find_account", email)
        account = _account(row)
        return None if account is None else (account, row["password_hash"])

    async def rename_account(
        self, account_id: uuid.UUID, name: str, version: int | None
    ) -> Account | None:
        """Another name, if the version holds."""
        return _account(await self._row("rename_account", account_id, name, version))

    async def begin_session(
        self,
        session_id: uuid.UUID,
        account_id: uuid.UUID,
        token_hash: bytes,
        lifetime_seconds: float,
    ) -> None:
        """A session and its first refresh token."""
        await self._row("begin_session", session_id, account_id, token_hash, lifetime_seconds)

    async def use_refresh_token(
        self, token_hash: bytes, successor_hash: bytes, lifetime_seconds: float
    ) -> tuple[uuid.UUID, uuid.UUID, Role] | None:
        """Use one up; session, account and role, or None when it could not be used."""
        row = await self._row("use_refresh_token", token_hash, successor_hash, lifetime_seconds)
        return row and (row["session_id"], row["account_id"], Role(row["role"]))

    async def end_reused_session(self, token_hash: bytes) -> uuid.UUID | None:
        """End the session of a token that had been used before; which one."""
        row = await self._row("end_reused_session", token_hash)
        ended: uuid.UUID | None = row and row["session_id"]
        return ended

    async def end_session(
        self, session_id: uuid.UUID, account_id: uuid.UUID, lifetime_seconds: float
    ) -> None:
        """Sign out."""
        await self._row("end_session", session_id, account_id, lifetime_seconds)

    async def read_ended_sessions(self, within_seconds: float) -> list[str]:
        """Sessions that ended within the last seconds."""
        with database_failures():
            rows = await self._pool.fetch(_SQL["read_ended_sessions"], within_seconds)
        return [str(row["session_id"]) for row in rows]

    async def forget(self, token_lifetime_seconds: float) -> int:
        """Remove a bounded number of sessions and refresh tokens that are over; how many."""
        with database_failures():
            sessions = await self._pool.execute(
                _SQL["forget_sessions"], token_lifetime_seconds, FORGOTTEN_MAX
            )
            tokens = await self._pool.execute(_SQL["forget_refresh_tokens"], FORGOTTEN_MAX)
        return sum(int(done.rpartition(" ")[2]) for done in (sessions, tokens))

    async def insert_address(
        self, address_id: uuid.UUID, account_id: uuid.UUID, parts: AddressParts
    ) -> Address | None:
        """A new address; None when the book is full."""
        return _address(
            await self._row(
                "insert_address", address_id, account_id, *_columns(parts), ADDRESSES_MAX
            )
        )

    async def read_address(self, address_id: uuid.UUID, account_id: uuid.UUID) -> Address | None:
        """One address of this account."""
        return _address(await self._row("read_address", address_id, account_id))

    async def list_addresses(
        self, account_id: uuid.UUID, after: uuid.UUID | None, limit: int
    ) -> list[Address]:
        """Up to ``limit`` addresses behind ``after``."""
        with database_failures():
            rows = await self._pool.fetch(_SQL["list_addresses"], account_id, after, limit)
        return [address for row in rows if (address := _address(row)) is not None]

    async def update_address(
        self,
        address_id: uuid.UUID,
        account_id: uuid.UUID,
        parts: AddressParts,
        version: int | None,
    ) -> Address | None:
        """Other parts, if the version holds."""
        return _address(
            await self._row("update_address", address_id, account_id, *_columns(parts), version)
        )

    async def delete_address(
        self, address_id: uuid.UUID, account_id: uuid.UUID, version: int | None
    ) -> bool:
        """Remove it, if the version holds."""
        return await self._row("delete_address", address_id, account_id, version) is not None

    async def _row(self, statement: str, *arguments: Any) -> Any:
        with database_failures():
            return await self._pool.fetchrow(_SQL[statement], *arguments)


def _account(row: Any) -> Account | None:
    return row and Account(
        row["account_id"],
        row["email"],
        Role(row["role"]),
        row["name"],
        row["version"],
        row["created_at"],
    )


def _address(row: Any) -> Address | None:
    return row and Address(
        row["address_id"],
        AddressParts(
            recipient=row["recipient"],
            line1=row["line1"],
            line2=row["line2"],
            city=row["city"],
            region=row["region"],
            postal_code=row["postal_code"],
            country=row["country"],
            phone=row["phone"],
        ),
        row["version"],
    )


def _columns(parts: AddressParts) -> tuple[str | None, ...]:
    """In the order of the statements."""
    return (
        parts.recipient,
        parts.line1,
        parts.line2,
        parts.city,
        parts.region,
        parts.postal_code,
        parts.country,
        parts.phone,
    )
