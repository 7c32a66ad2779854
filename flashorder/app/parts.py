"""What several roles are made of: the stores, and the rooms over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.accounts.service import AccountService
from flashorder.fencing.metrics import FencingMetrics
from flashorder.fencing.service import Fencing
from flashorder.fulfilment.carriers.registry import build_carriers
from flashorder.fulfilment.service import FulfilmentService
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.postgres.pool import Pool, connect_postgres
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.inventory.ledger import StockLedger
from flashorder.inventory.reconciliation.reading import Reader
from flashorder.inventory.reconciliation.service import (
    ReconciliationMetrics,
    ReconciliationService,
)
from flashorder.inventory.reconciliation.store import ReconciliationStore
from flashorder.orders.service import OrderService
from flashorder.orders.settlement import OrderSettlement
from flashorder.orders.units import OrderUnits
from flashorder.reservations.holds import StoreHolds
from flashorder.sales.front import SaleFront
from flashorder.sales.service import SalesService
from flashorder.settings import Settings


@dataclass(slots=True)
class Parts:
    """What several roles are made of: the stores, and the rooms over them."""

    settings: Settings
    redis: Redis
    pool: Pool
    front: SaleFront
    fencing: Fencing
    accounts: AccountService
    sales: SalesService
    holds: StoreHolds
    orders: OrderService
    units: OrderUnits
    settlement: OrderSettlement
    fulfilment: FulfilmentService
    reconciliation: ReconciliationService
    idempotency: IdempotencyStore
    authenticator: Authenticator
    metrics: Metrics


@asynccontextmanager
async def open_parts(settings: Settings, role: str) -> AsyncIterator[Parts]:
    """Everything built and, where it can wait, not connected yet; closed at the end."""
    redis = connect_redis(
        settings.required_redis_url(), timeout_seconds=settings.store_timeout_seconds
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        pool = await connect_postgres(
            settings.required_database_url(),
            connections_min=0,
            connections_max=settings.database_connections_max,
            acquire_timeout_seconds=settings.database_acquire_timeout_seconds,
            read_timeout_seconds=settings.database_read_timeout_seconds,
            application=f"flashorder {role}",
        )
        stack.push_async_callback(pool.close)
        carriers = build_carriers(settings)
        stack.push_async_callback(carriers.close)
        metrics = Metrics(role=role)
        authenticator = Authenticator.of(settings)
        accounts = AccountService(pool, settings, authenticator)
        stack.callback(accounts.close)
        holds = StoreHolds(redis, settings.shards)
        units = OrderUnits(pool, holds)
        front = SaleFront(redis, settings.shards)
        yield Parts(
            settings=settings,
            redis=redis,
            pool=pool,
            front=front,
            fencing=build_fencing(settings, pool, metrics.registry),
            accounts=accounts,
            sales=SalesService(pool, front, StockLedger(), settings),
            holds=holds,
            orders=OrderService(pool),
            units=units,
            settlement=OrderSettlement(pool, holds, units),
            fulfilment=FulfilmentService(pool, carriers, settings),
            reconciliation=_reconciliation(redis, pool, front, settings, metrics.registry),
            idempotency=IdempotencyStore(
                pool,
                lease_seconds=settings.idempotency_lease_seconds,
                work_seconds_max=settings.idempotency_work_seconds_max,
            ),
            authenticator=authenticator,
            metrics=metrics,
        )


def build_fencing(settings: Settings, pool: Pool, registry: CollectorRegistry) -> Fencing:
    """Has connections to the store of its own, one at a time."""
    url, timeout_seconds = settings.required_redis_url(), settings.store_timeout_seconds
    return Fencing(
        pool,
        lambda: connect_redis(url, timeout_seconds=timeout_seconds, connections_max=1),
        settings.shards,
        FencingMetrics(registry),
    )


def _reconciliation(
    redis: Redis, pool: Pool, front: SaleFront, settings: Settings, registry: CollectorRegistry
) -> ReconciliationService:
    return ReconciliationService(
        ReconciliationStore(pool),
        Reader(pool, redis, front, settings.shards),
        front,
        ReconciliationMetrics(registry),
    )
