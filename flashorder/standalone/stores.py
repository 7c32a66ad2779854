"""The stores of one machine: those that the settings name, and our own for those they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flashorder.infra.embedded import (
    DataFolder,
    EmbeddedDatabase,
    EmbeddedServerError,
    EmbeddedStore,
)
from flashorder.infra.supervision import Console
from flashorder.settings import Settings

RESTART_PAUSE_SECONDS_MIN = 0.1
RESTART_PAUSE_SECONDS_MAX = 5.0
STORE = "store"
DATABASE = "database"


class Stores:
    """Both stores, kept running where they are ours. ``changed``: a pid has changed."""

    def __init__(
        self,
        settings: Settings,
        folder: DataFolder,
        console: Console,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._console = console
        self._changed = changed
        self._store = None if settings.redis_url else EmbeddedStore(folder)
        self._database = None if settings.database_url else EmbeddedDatabase(folder)
        self._stopping = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._stop: asyncio.Task[None] | None = None

    @property
    def store_is_ours(self) -> bool:
        """Whether the store is the embedded one, which nobody else works with."""
        return self._store is not None

    @property
    def redis_url(self) -> str:
        """The store's address; valid after ``start``."""
        return self._store.url if self._store else self._settings.required_redis_url()

    @property
    def local_redis_url(self) -> str:
        """The same for roles on this machine: a socket costs the kernel less than TCP."""
        return self._store.socket_url if self._store else self._settings.required_redis_url()

    @property
    def database_url(self) -> str:
        """The database's address; valid after ``start``."""
        return self._database.url if self._database else self._settings.required_database_url()

    def pids(self) -> dict[str, int | None]:
        """Process ids of the servers that are ours."""
        return {
            STORE: self._store.pid if self._store and self._store.running else None,
            DATABASE: self._database.pid if self._database and self._database.running else None,
        }

    async def start(self) -> None:
        """Start what is ours; raises ``EmbeddedServerError``."""
        if self._store is not None and self._database is None:
            self._console.say(STORE, "FLASHORDER_REDIS_URL is not set: starting a store of our own")
        if self._database is not None and self._store is None:
            self._console.say(
                DATABASE, "FLASHORDER_DATABASE_URL is not set: starting a database of our own"
            )
        if self._store is not None and self._database is not None:
            self._tell_of_lost_books()
        servers = [each for each in (self._store, self._database) if each is not None]
        await asyncio.gather(*(server.start() for server in servers))
        names = [name for name, pid in self.pids().items() if pid is not None]
        self._keepers = [
            asyncio.create_task(self._keep(name, server), name=f"keep:{name}")
            for name, server in zip(names, servers, strict=True)
        ]

    async def stop(self) -> None:
        """Stop what is ours, the database and the store at once. Idempotent."""
        self._stopping.set()
        if self._stop is None:
            self._stop = asyncio.create_task(self._stop_servers())
        await asyncio.wait({self._stop})
        if not self._stop.cancelled():
            self._stop.result()

    def hurry(self) -> None:
        """A stop that is under way ends the servers at once."""
        if self._stop is not None:
            self._stop.cancel()

    def _tell_of_lost_books(self) -> None:
        """Said once, for the start makes a new database in the place of the lost one."""
        if self._folder.has_lost_its_database():
            self._console.say(
                DATABASE,
                f"{self._folder.database_folder} is gone, and with it every account, sale and "
                "order; the store still has its sales. An empty database is made now, and "
                "`flashorder verify` will not hold. Way out: stop, then put back the folder from "
                f"a copy, or move {self._folder.path} away to begin anew",
            )

    async def _stop_servers(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers)
        servers = [each for each in (self._store, self._database) if each is not None]
        await asyncio.gather(*(server.stop() for server in servers))

    async def _keep(self, name: str, server: EmbeddedStore | EmbeddedDatabase) -> None:
        pause_seconds = RESTART_PAUSE_SECONDS_MIN
        while True:
            if server.running:
                code = await server.wait()
                self._console.say(name, f"ended with exit code {code}; started again")
            try:
                await server.start()
            except EmbeddedServerError as error:
                self._console.say(name, error.detail)
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(RESTART_PAUSE_SECONDS_MAX, pause_seconds * 2)
            else:
                pause_seconds = RESTART_PAUSE_SECONDS_MIN
                self._changed()
