"""Real stores for the tests: one pair for a whole worker, and pairs of one's own to break."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import psutil
from redis.asyncio import Redis

from flashorder.infra.embedded import DataFolder, EmbeddedDatabase, EmbeddedStore
from flashorder.infra.embedded.leftovers import processes_in
from flashorder.infra.postgres.migrations import migrate

TEMPLATE = "template_migrated"

# Tests never ask for what a power cut left: nothing waits for the disk, and little is kept.
HASTY_DATABASE_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "max_connections": "60",
}


class SharedStores:
    """One Valkey and one PostgreSQL for all tests of a worker; each test gets them empty."""

    def __init__(self, folder: DataFolder) -> None:
        self.store = EmbeddedStore(folder, maxmemory="256mb")
        self.database = EmbeddedDatabase(folder, settings=HASTY_DATABASE_SETTINGS, durable=False)
        self._databases_made = 0

    async def start(self) -> None:
        """Start both and migrate the template that every test's database is a copy of."""
        await asyncio.gather(self.store.start(), self.database.start())
        await self.execute(f"CREATE DATABASE {TEMPLATE}")
        await migrate(self.database.url_of(TEMPLATE))

    async def stop(self) -> None:
        """Stop both."""
        await asyncio.gather(self.store.stop(), self.database.stop())

    async def empty_store(self) -> None:
        """No keys, no scripts, and nobody of a former test still waiting for an entry."""
        async with Redis.from_url(self.store.socket_url) as client:
            for kind in ("normal", "pubsub"):
                await client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            await client.flushall()
            await client.script_flush()

    @asynccontextmanager
    async def fresh_database(self, template: str) -> AsyncIterator[str]:
        """URL of a copy of ``template`` that is gone afterwards, whoever is still connected."""
        self._databases_made += 1
        name = f"test_{self._databases_made}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield self.database.url_of(name)
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, statement: str) -> None:
        """Run one statement outside of the tests' databases."""
        connection = await asyncpg.connect(self.database.url_of("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class Breakable:
    """A server to break: killed as by a power cut, or frozen as by a stalled disk."""

    def __init__(self, server: EmbeddedStore | EmbeddedDatabase, folder: Path) -> None:
        self.server = server
        self._folder = folder

    @property
    def url(self) -> str:
        """Where the server listens: the same before and after it was broken."""
        return self.server.url

    async def start(self) -> None:
        """Start it, again or for the first time."""
        await self.server.start()

    async def stop(self) -> None:
        """Stop it in order."""
        self.resume()
        await self.server.stop()

    async def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        self.resume()
        os.kill(self.server.pid, signal.SIGKILL)
        await self.server.wait()

    def pause(self) -> None:
        """Freeze every process of the server: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.server.running:
            # The sessions of a database run as nobody cannot be told by their folder.
            server = psutil.Process(self.server.pid)
            pids = {process.pid for process in (server, *server.children(recursive=True))}
        else:
            pids = set(processes_in(self._folder))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class BreakableStores:
    """A pair of servers that belongs to one test; the database is migrated."""

    def __init__(self, folder: DataFolder) -> None:
        self._store = EmbeddedStore(folder, maxmemory="256mb")
        self._database = EmbeddedDatabase(folder, durable=False)
        self.store_folder = folder.store_folder
        self.store = Breakable(self._store, folder.store_folder)
        self.database = Breakable(self._database, folder.database_folder)

    @property
    def redis_url(self) -> str:
        """The store's address."""
        return self._store.url

    @property
    def database_url(self) -> str:
        """The database's address."""
        return self._database.url

    async def start(self) -> None:
        """Start both and migrate."""
        await asyncio.gather(self.store.start(), self.database.start())
        await migrate(self.database_url)

    async def stop(self) -> None:
        """Stop both, in whatever state they are."""
        await asyncio.gather(self.store.stop(), self.database.stop())
