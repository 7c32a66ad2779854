"""The connection pool, and the translation of its failures.

A server that is gone refuses; one that hangs (a stalled disk, a stopped process) says nothing, and
asyncpg would wait for it: for a free connection, for a cancelled statement to end, for a rollback.
So each of these has its bound here, for whoever uses a pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import msgspec

from flashorder.infra.transports import is_closed_transport
from flashorder.kernel.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    _AsyncpgPool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    _AsyncpgPool = asyncpg.Pool
    Connection = asyncpg.Connection

RETRY_AFTER_SECONDS = 2.0
# How long a statement that was given up, a rollback or a reset may take before its connection is
# closed instead.
REST_SECONDS_MAX = 1.0


class Pool(_AsyncpgPool):
    """asyncpg's pool, whose waiting is bounded; made by ``connect_postgres``."""

    acquire_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 3.0

    def acquire(self, *, timeout: float | None = None) -> Any:
        """A connection within ``timeout``, else within the pool's own; ``TimeoutError``."""
        return super().acquire(timeout=self.acquire_timeout_seconds if timeout is None else timeout)

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        """Take the connection back; one that does not come to rest in time is closed.

        That is no failure of its user, who has an answer, or a failure, already.
        """
        with suppress(TimeoutError):
            await super().release(
                connection, timeout=REST_SECONDS_MAX if timeout is None else timeout
            )


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
    acquire_timeout_seconds: float = 5.0,
    read_timeout_seconds: float = 3.0,
    silent_transaction_seconds_max: float = 10.0,
    application: str = "flashorder",
) -> Pool:
    """A pool on ``dsn``; ``jsonb`` columns are Python values both ways, times are UTC.

    ``read_timeout_seconds`` is what ``reading`` gives a whole read. A transaction whose client says
    nothing for ``silent_transaction_seconds_max`` is rolled back by the server.
    """
    with database_failures():
        pool = Pool(
            dsn,
            min_size=connections_min,
            max_size=connections_max,
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            loop=None,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            command_timeout=command_timeout_seconds,
            timeout=5.0,
            init=_prepare,
            server_settings={
                "application_name": application,
                "timezone": "UTC",
                # A process that is frozen, or lost behind its line, in the middle of a transaction
                # would keep its rows locked, and whoever does its work instead waiting.
                "idle_in_transaction_session_timeout": str(
                    round(silent_transaction_seconds_max * 1000)
                ),
                # A plan kept from when the tables were small reads all of them once a sale has
                # begun; planning anew costs some 60 µs a statement and is always right.
                "plan_cache_mode": "force_custom_plan",
            },
        )
        pool.acquire_timeout_seconds = acquire_timeout_seconds
        pool.read_timeout_seconds = read_timeout_seconds
        await pool
        return pool


@contextmanager
def database_failures() -> Iterator[None]:
    """Turn what asyncpg raises when the server is away into one error."""
    try:
        yield
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,  # a statement met the last words of a server that was killed
        asyncpg.CannotConnectNowError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        # No room on its disk or in its memory, no connection left.
        asyncpg.InsufficientResourcesError,
        asyncpg.PostgresSystemError,  # its disk fails
        asyncpg.IdleInTransactionSessionTimeoutError,
        OSError,  # TimeoutError is one of them
    ) as error:
        raise DatabaseUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error
    except RuntimeError as error:
        if not is_closed_transport(error):
            raise
        raise DatabaseUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection with an open transaction: committed at the end, rolled back on an exception."""
    with database_failures():
        async with pool.acquire() as connection:
            unit = connection.transaction()
            await unit.start()
            try:
                yield connection
            except BaseException:
                await _roll_back(connection, unit)
                raise
            await unit.commit()


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for one read of somebody who waits.

    Raises ``DatabaseUnavailable`` when it is not over within ``pool.read_timeout_seconds``,
    whatever the server does.
    """
    with database_failures():
        async with asyncio.timeout(pool.read_timeout_seconds), pool.acquire() as connection:
            yield connection


async def _roll_back(connection: Any, unit: Any) -> None:
    """Roll back, or close the connection, which comes to the same."""
    try:
        async with asyncio.timeout(REST_SECONDS_MAX):
            await unit.rollback()
    except Exception:  # whatever it says: the server rolls back what has lost its connection
        connection.terminate()
