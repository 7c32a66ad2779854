"""What the contenders stand on: stores of their own, the sale, the buyers, the service."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis

from bench.cores import Cores
from bench.load.wrk import Purchases
from bench.processes import Program, running
from flashorder.infra.embedded import DataFolder, EmbeddedDatabase, EmbeddedStore
from flashorder.infra.embedded.ports import free_port
from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import TokenSigner
from flashorder.infra.postgres.migrations import migrate
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis import keys
from flashorder.infra.redis.connection import connect_redis
from flashorder.inventory.ledger import StockLedger
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.sales.front import SaleFront
from flashorder.sales.model import DraftItem, SaleDraft
from flashorder.sales.service import SalesService
from flashorder.settings import Settings
from flashorder.standalone.demonstration import import_shipped_catalogue

STORE_MEMORY = "4gb"
# All buyers come from one address and at one speed: no limit is meant for them.
ONE_ADDRESS = {
    "FLASHORDER_ADDRESS_REQUESTS_PER_SECOND": "1000000",
    "FLASHORDER_ADDRESS_REQUESTS_BURST": "1000000",
    "FLASHORDER_CONNECTIONS_PER_ADDRESS_MAX": "20000",
}
NO_LIMIT = 1_000_000
FREED_POLLS_MAX = 500


@dataclass(frozen=True, slots=True)
class Sale:
    """An open sale of one SKU."""

    sale_id: uuid.UUID
    sku: str

    @property
    def path(self) -> str:
        """Where its orders are posted."""
        return f"/v1/sales/{self.sale_id}/orders"

    @property
    def body(self) -> str:
        """A purchase of one unit."""
        return f'{{"sku":"{self.sku}","quantity":1}}'


@dataclass(slots=True)
class Stand:
    """A store that fsyncs every write, a migrated database with products, and their settings."""

    folder: Path
    cores: Cores
    store: EmbeddedStore
    database: EmbeddedDatabase
    settings: Settings
    redis: Redis
    pool: Pool
    sales: SalesService

    async def fresh_sale(
        self,
        units: int = 100_000_000,
        *,
        per_buyer_limit: int = NO_LIMIT,
        starts_in_seconds: float = -60.0,
    ) -> Sale:
        """A new open sale; the stream and the keys of former ones are dropped."""
        await self.forget_sales()
        sku: str = await self.pool.fetchval("SELECT sku FROM products ORDER BY sku LIMIT 1")
        now = datetime.now(UTC)
        sale = await self.sales.create(
            SaleDraft(
                "Bench",
                now + timedelta(seconds=starts_in_seconds),
                now + timedelta(hours=6),
                (DraftItem(sku, units, Money(1999, "GBP"), per_buyer_limit),),
            ),
            actor="bench",
        )
        await self.sales.open(sale.sale_id)
        return Sale(sale.sale_id, sku)

    async def forget_sales(self) -> None:
        """End live sales, and empty the store except for the stream's group."""
        for sale_id in await self.pool.fetch(
            "SELECT sale_id FROM sales WHERE status IN ('open', 'scheduled', 'paused')"
        ):
            await self.sales.close(sale_id["sale_id"])
        async for key in self.redis.scan_iter(count=1000):
            if key != keys.intents(0).encode():
                await self.redis.unlink(key)
        await self.redis.xtrim(keys.intents(0), maxlen=0, approximate=False)
        await self._until_freed()

    async def _until_freed(self) -> None:
        """A thread of the store frees: its work and memory are no figure of the next round."""
        for _ in range(FREED_POLLS_MAX):
            if not (await self.redis.info("memory"))["lazyfree_pending_objects"]:
                return
            await asyncio.sleep(0.02)

    def buyers(self, count: int, name: str = "buyers") -> Path:
        """A file of Authorization lines, each the valid token of another buyer."""
        signer = TokenSigner.of(self.settings)
        path = self.folder / f"{name}.txt"
        path.touch(mode=0o600)
        with path.open("w", encoding="ascii") as file:
            for _ in range(count):
                token = signer.sign(new_id(), Role.SHOPPER, str(uuid.uuid4()))
                file.write(f"Authorization: Bearer {token}\n")
        return path

    def purchases(self, sale: Sale, buyers: Path, port: int) -> Purchases:
        """What wrk sends."""
        return Purchases(port, sale.path, buyers, sale.body)

    @property
    def environment(self) -> dict[str, str]:
        """What a role of the service needs to know."""
        return {
            **ONE_ADDRESS,
            # As `flashorder up` does: on one machine a socket costs the kernel less than TCP.
            "FLASHORDER_REDIS_URL": self.store.socket_url,
            "FLASHORDER_DATABASE_URL": self.database.url,
            "FLASHORDER_DATA_DIR": str(self.folder),
            "FLASHORDER_LOG_LEVEL": "warning",
        }

    @asynccontextmanager
    async def service(
        self,
        python: str,
        *,
        name: str = "flashorder",
        workers: int = 1,
        changes: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Program]:
        """``flashorder serve`` on the server's processors, everything on."""
        port = free_port()
        argv = [python, "-m", "flashorder.cli", "serve", "--workers", str(workers)]
        async with running(
            name,
            argv,
            cores=self.cores.server,
            folder=self.folder,
            environment={**self.environment, "FLASHORDER_PORT": str(port), **(changes or {})},
            port=port,
            ready_path="/readyz",
        ) as program:
            yield program


@asynccontextmanager
async def open_stand(
    folder: Path, cores: Cores, *, database_settings: Mapping[str, str] | None = None
) -> AsyncIterator[Stand]:
    """Stores in ``folder``, on this process's own processors, stopped at the end."""
    async with AsyncExitStack() as stack:
        data = stack.enter_context(DataFolder(folder))
        store = EmbeddedStore(data, maxmemory=STORE_MEMORY)
        database = EmbeddedDatabase(data, settings=database_settings)
        await stack.enter_async_context(store)
        await stack.enter_async_context(database)
        await migrate(database.url)
        settings = Settings.model_validate(
            {"redis_url": store.socket_url, "database_url": database.url, "data_dir": folder}
        )
        await import_shipped_catalogue(settings)
        redis = connect_redis(store.socket_url, timeout_seconds=30.0)
        stack.push_async_callback(redis.aclose)
        pool = await connect_postgres(database.url, connections_max=4)
        stack.push_async_callback(pool.close)
        sales = SalesService(pool, SaleFront(redis, 1), StockLedger(), settings)
        yield Stand(folder, cores, store, database, settings, redis, pool, sales)


@dataclass(frozen=True, slots=True)
class PeerStore:
    """A store that keeps nothing on disk: what the peers are given."""

    store: EmbeddedStore
    redis: Redis
    socket_path: str
    password: str


@asynccontextmanager
async def open_peer_store(folder: Path) -> AsyncIterator[PeerStore]:
    """A second store without an append-only file, and so without any fsync."""
    async with AsyncExitStack() as stack:
        data = stack.enter_context(DataFolder(folder))
        store = EmbeddedStore(data, maxmemory=STORE_MEMORY)
        await stack.enter_async_context(store)
        redis = connect_redis(store.socket_url, timeout_seconds=30.0)
        stack.push_async_callback(redis.aclose)
        await redis.config_set("appendonly", "no")
        parts = urlsplit(store.socket_url)
        yield PeerStore(store, redis, unquote(parts.path), unquote(parts.password or ""))
