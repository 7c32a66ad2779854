"""A connection that is lost is the store being away, however the event loop says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from flashorder.infra.postgres.pool import connect_postgres, database_failures
from flashorder.infra.redis.connection import connect_redis, store_failures
from flashorder.kernel.errors import DatabaseUnavailable, StoreUnavailable, Unavailable


async def _store(redis_url: str, _: str) -> None:
    async with connect_redis(redis_url) as redis:
        await redis.ping()
        connection: Any = redis.connection_pool._available_connections[-1]
        connection._writer.transport.abort()  # lost, and nobody has been told of it yet
        with store_failures():
            await redis.ping()


async def _database(_: str, database_url: str) -> None:
    async with await connect_postgres(database_url) as pool, pool.acquire() as connection:
        connection._con._transport.abort()
        with database_failures():
            await connection.fetchval("SELECT 1")


@pytest.mark.parametrize(
    ("lose", "failure"), [(_store, StoreUnavailable), (_database, DatabaseUnavailable)]
)
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_was_just_lost(
    redis_url: str,
    database_url: str,
    lose: Callable[[str, str], Awaitable[None]],
    failure: type[Unavailable],
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def meet() -> None:
        with pytest.raises(failure):
            await lose(redis_url, database_url)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(meet())


def test_another_runtime_error_stays_what_it_is() -> None:
    for failures in (store_failures, database_failures):
        with pytest.raises(RuntimeError, match="innards"), failures():
            raise RuntimeError("innards")
