"""How far the stream of a shard was, by what PostgreSQL has of it."""

from __future__ import annotations

from flashorder.fencing.model import id_of, numbers_of
from flashorder.infra.postgres.pool import Pool, database_failures, reading
from flashorder.infra.postgres.sql import load_sql
from flashorder.infra.redis.lives import NO_ENTRY
from flashorder.inventory.reconciliation.stream import as_bigint

_SQL = load_sql("flashorder.fencing")


async def known_position(pool: Pool, shard: int) -> bytes:
    """The highest id that was written down. ``DatabaseUnavailable``, within the pool's time."""
    async with reading(pool) as connection:
        row = await connection.fetchrow(_SQL["known_position"], shard)
    # Below zero stands what no stream makes by itself; see as_bigint.
    return NO_ENTRY if row is None or min(row) < 0 else id_of(row["ms"], row["seq"])


async def write_position(pool: Pool, shard: int, entry_id: bytes) -> None:
    """The stream was there: write it down. ``DatabaseUnavailable``."""
    numbers = (as_bigint(number) for number in numbers_of(entry_id))
    with database_failures():
        await pool.execute(_SQL["write_position"], shard, *numbers)
