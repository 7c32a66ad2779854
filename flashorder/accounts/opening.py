"""The service on its own, for commands that need nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flashorder.accounts.service import AccountService
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.postgres.pool import connect_postgres
from flashorder.settings import Settings


@asynccontextmanager
async def open_accounts(settings: Settings) -> AsyncIterator[AccountService]:
    """An account service on the settings' database; closed at the end."""
    pool = await connect_postgres(settings.required_database_url(), connections_max=2)
    service = AccountService(pool, settings, Authenticator.of(settings))
    try:
        yield service
    finally:
        service.close()
        await pool.close()
