"""The connection pool, and the translation of its failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import msgspec

from flashorder.kernel.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection

RETRY_AFTER_SECONDS = 2.0


async def _prepare(connection: Any) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name,
            schema="pg_catalog",
            encoder=lambda value: msgspec.json.encode(value).decode(),
            decoder=msgspec.json.decode,
        )


async def connect_postgres(
    dsn: str,
    *,
    connections_min: int = 1,
    connections_max: int = 10,
    command_timeout_seconds: float = 30.0,
    application: str = "flashorder",
) -> Pool:
    """A pool on ``dsn``; ``jsonb`` columns are Python values both ways, times are UTC."""
    with database_failures():
        return await asyncpg.create_pool(
            dsn,
            min_size=connections_min,
            max_size=connections_max,
            command_timeout=command_timeout_seconds,
            timeout=5.0,
            init=_prepare,
            server_settings={
                "application_name": application,
                "timezone": "UTC",
                # A plan kept from when the tables were small reads all of them once a sale has
                # begun; planning anew costs some 60 µs a statement and is always right.
                "plan_cache_mode": "force_custom_plan",
            },
        )


@contextmanager
def database_failures() -> Iterator[None]:
    """Turn what asyncpg raises when the server is away into one error."""
    try:
        yield
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.CannotConnectNowError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        asyncpg.TooManyConnectionsError,
        OSError,  # TimeoutError is one of them
    ) as error:
        raise DatabaseUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection with an open transaction: committed at the end, rolled back on an exception."""
    with database_failures():
        async with pool.acquire() as connection, connection.transaction():
            yield connection
