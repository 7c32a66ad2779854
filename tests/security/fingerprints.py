"""What is in both stores, in a few bytes a table and key: the same before and after, or not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from redis.asyncio import Redis

from tests.security.service import Service

# The first answer to a key is remembered, also where it is a refusal.
ANSWERS = frozenset({"idempotency_keys"})
WAIT_SECONDS_MAX = 20.0


async def fingerprint(service: Service, *, but: frozenset[str] = frozenset()) -> dict[str, str]:
    """A hash of each table of the database, save ``but``, and of each key of the store."""
    return {**await _tables(service, but), **await _keys(service)}


@asynccontextmanager
async def unchanged(service: Service, *, but: frozenset[str] = frozenset()) -> AsyncIterator[None]:
    """Fail if the body of the statement changed anything in either store."""
    await _until_nothing_is_on_its_way(service)
    before = await fingerprint(service, but=but)
    yield
    after = await fingerprint(service, but=but)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert not changed, f"something was written: {sorted(changed)}"


async def _until_nothing_is_on_its_way(service: Service) -> None:
    """Events that an earlier test has made true would be delivered meanwhile."""
    connection = await asyncpg.connect(service.settings.required_database_url())
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while await connection.fetchval(
                "SELECT count(*) FROM outbox WHERE processed_at IS NULL AND last_error IS NULL"
            ):
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def _tables(service: Service, but: frozenset[str]) -> dict[str, str]:
    connection = await asyncpg.connect(service.settings.required_database_url())
    try:
        names = [
            row["relname"]
            for row in await connection.fetch(
                "SELECT relname FROM pg_class WHERE relkind = 'r' "
                "AND relnamespace = 'public'::regnamespace ORDER BY relname"
            )
            if row["relname"] not in but
        ]
        hashes = await connection.fetch(
            " UNION ALL ".join(
                f"SELECT '{name}' AS name, md5(coalesce(string_agg(t::text, chr(10) "
                f"ORDER BY t::text), '')) AS hash FROM {name} AS t"
                for name in names
            )
        )
        return {f"table {row['name']}": row["hash"] for row in hashes}
    finally:
        await connection.close()


async def _keys(service: Service) -> dict[str, str]:
    client = Redis.from_url(service.settings.required_redis_url())
    try:
        return {
            f"key {key.decode()}": hashlib.md5(await _value(client, key)).hexdigest()
            async for key in client.scan_iter(count=1000)
        }
    finally:
        await client.aclose()


async def _value(client: Redis, key: bytes) -> bytes:
    if await client.type(key) != b"stream":
        return await client.dump(key) or b""
    # Its dump also says when each consumer was last seen, and it is trimmed by the clock.
    told = await client.xinfo_stream(key)
    return repr((told["entries-added"], told["last-generated-id"])).encode()
