"""A pool whose server hangs: every wait ends, and the pool is as good as new afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from flashorder.infra.postgres.pool import Pool, connect_postgres, reading, transaction
from flashorder.kernel.errors import DatabaseUnavailable
from tests.stores import BreakableStores


@pytest_asyncio.fixture
async def pool(stores: BreakableStores) -> AsyncIterator[Pool]:
    pool = await connect_postgres(
        stores.database_url,
        connections_max=4,
        command_timeout_seconds=1.0,
        acquire_timeout_seconds=1.0,
        read_timeout_seconds=0.5,
    )
    yield pool
    stores.database.resume()
    await pool.close()


async def read(pool: Pool) -> None:
    async with reading(pool) as connection:
        await connection.fetchval("SELECT 1")


async def change(pool: Pool) -> None:
    async with transaction(pool) as connection:
        await connection.execute("SELECT 1")


async def timed(
    work: Callable[[Pool], Awaitable[None]], pool: Pool
) -> tuple[DatabaseUnavailable, float]:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as failure:
        await work(pool)
    return failure.value, time.monotonic() - began


@pytest.mark.parametrize(("work", "seconds_max"), [(read, 2.0), (change, 5.0)])
async def test_a_server_that_hangs_is_waited_for_no_longer_than_said(
    stores: BreakableStores,
    pool: Pool,
    work: Callable[[Pool], Awaitable[None]],
    seconds_max: float,
) -> None:
    await asyncio.gather(*(work(pool) for _ in range(8)))
    stores.database.pause()
    ended = await asyncio.gather(*(timed(work, pool) for _ in range(12)))
    assert max(seconds for _, seconds in ended) < seconds_max
    assert all(failure.retry_after_seconds for failure, _ in ended)
    stores.database.resume()
    await asyncio.gather(*(work(pool) for _ in range(8)))


async def test_a_transaction_under_way_when_the_server_hangs_ends(
    stores: BreakableStores, pool: Pool
) -> None:
    async def interrupted(pool: Pool) -> None:
        async with transaction(pool) as connection:
            await connection.execute("SELECT 1")
            stores.database.pause()
            await connection.execute("SELECT 2")

    _, seconds = await timed(interrupted, pool)
    assert seconds < 4.0
    stores.database.resume()
    await change(pool)


async def test_nobody_waits_for_a_connection_without_end(pool: Pool) -> None:
    held = [await pool.acquire() for _ in range(4)]
    _, seconds = await timed(change, pool)
    assert 0.9 < seconds < 2.0
    for connection in held:
        await pool.release(connection)
    await change(pool)


async def test_what_fails_inside_is_rolled_back_and_told(pool: Pool) -> None:
    await pool.execute("CREATE TABLE notes (note text)")

    async def failing() -> None:
        async with transaction(pool) as connection:
            await connection.execute("INSERT INTO notes VALUES ('a')")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await failing()
    assert await pool.fetchval("SELECT count(*) FROM notes") == 0
    assert pool.get_idle_size() == pool.get_size()


@pytest.mark.parametrize("condition", ["disk_full", "out_of_memory", "io_error"])
async def test_a_server_that_has_no_room_is_away(database_url: str, condition: str) -> None:
    """Not a mistake of ours: it is asked again."""
    async with await connect_postgres(database_url) as pool:
        with pytest.raises(DatabaseUnavailable) as failure:
            async with transaction(pool) as connection:
                await connection.execute(
                    f"DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{condition}'; END $$"
                )
        assert failure.value.retry_after_seconds


async def test_who_sleeps_in_a_transaction_does_not_keep_others_waiting(database_url: str) -> None:
    async def sleep_in_it() -> None:
        async with transaction(sleepy) as connection:
            await connection.execute("UPDATE rows SET n = n + 1")
            # As much as its process being frozen: nothing more is said in this transaction.
            async with asyncio.timeout(5):
                await awake.execute("UPDATE rows SET n = n + 10")
            await connection.execute("UPDATE rows SET n = n + 100")

    async with (
        await connect_postgres(database_url, silent_transaction_seconds_max=0.3) as sleepy,
        await connect_postgres(database_url) as awake,
    ):
        await awake.execute("CREATE TABLE rows (n integer); INSERT INTO rows VALUES (0)")
        with pytest.raises(DatabaseUnavailable):
            await sleep_in_it()
        assert await awake.fetchval("SELECT n FROM rows") == 10
        assert await sleepy.fetchval("SELECT n FROM rows") == 10
