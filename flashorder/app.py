"""The composition root: builds what each role needs, owns its tasks, closes it again.

Nothing else in the project decides which part is given to which. Tests build the same roles.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from flashorder.accounts import jobs as account_jobs
from flashorder.accounts import routes as account_routes
from flashorder.accounts.service import AccountService
from flashorder.consumer import jobs as consumer_jobs
from flashorder.consumer import routes as dead_letter_routes
from flashorder.consumer.dead_letters import DeadLetters
from flashorder.consumer.metrics import ConsumerMetrics
from flashorder.consumer.service import Consumer
from flashorder.fulfilment import jobs as fulfilment_jobs
from flashorder.fulfilment import routes as fulfilment_routes
from flashorder.fulfilment.carriers.registry import build_carriers
from flashorder.fulfilment.metrics import FulfilmentMetrics
from flashorder.fulfilment.service import FulfilmentService
from flashorder.infra.http.application import build_application
from flashorder.infra.http.endpoint import Endpoint
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.http.idempotency import jobs as idempotency_jobs
from flashorder.infra.http.operations import Check
from flashorder.infra.http.tokens import Authenticator
from flashorder.infra.jobs import Job, run_jobs
from flashorder.infra.postgres.pool import Pool, connect_postgres, database_failures
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.redis.requirements import require_store
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.inventory import jobs as inventory_jobs
from flashorder.inventory import routes as inventory_routes
from flashorder.inventory.departures import Departures
from flashorder.inventory.ledger import StockLedger
from flashorder.inventory.reconciliation import jobs as reconciliation_jobs
from flashorder.inventory.reconciliation import routes as reconciliation_routes
from flashorder.inventory.reconciliation.reading import Reader
from flashorder.inventory.reconciliation.service import (
    ReconciliationMetrics,
    ReconciliationService,
)
from flashorder.inventory.reconciliation.store import ReconciliationStore
from flashorder.kernel.events import Handler, Topic
from flashorder.notifications import jobs as outbox_jobs
from flashorder.notifications import routes as outbox_routes
from flashorder.notifications.metrics import OutboxMetrics
from flashorder.notifications.relay import OutboxRelay
from flashorder.orders import jobs as order_jobs
from flashorder.orders import routes as order_routes
from flashorder.orders.queries import OrderQueries
from flashorder.orders.service import OrderService
from flashorder.orders.settlement import OrderSettlement
from flashorder.orders.streams import OrderStreams
from flashorder.orders.units import OrderUnits
from flashorder.payments import jobs as payment_jobs
from flashorder.payments import routes as payment_routes
from flashorder.payments.metrics import PaymentMetrics
from flashorder.payments.providers.registry import open_providers
from flashorder.payments.service import PaymentService
from flashorder.rebuilding import routes as rebuilding_routes
from flashorder.rebuilding.service import Rebuilding
from flashorder.reservations import routes as reservation_routes
from flashorder.reservations.admission import Admission
from flashorder.reservations.batching import Batcher, ReserveMetrics
from flashorder.reservations.holds import StoreHolds
from flashorder.reservations.service import Reservations
from flashorder.sales import admin_routes as sale_admin_routes
from flashorder.sales import jobs as sale_jobs
from flashorder.sales import routes as sale_routes
from flashorder.sales.directory import SaleDirectory
from flashorder.sales.front import SaleFront
from flashorder.sales.service import SalesService
from flashorder.settings import Settings

Run = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Role:
    """Something that runs until it is told to stop, and then finishes what it has in hand."""

    runs: Sequence[Run]
    metrics: Metrics

    async def run(self, stopping: asyncio.Event) -> None:
        """Run every part; the first that fails ends the others."""
        async with asyncio.TaskGroup() as group:
            for run in self.runs:
                group.create_task(_await(run, stopping))


@dataclass(slots=True)
class Parts:
    """What several roles are made of: the stores, and the rooms over them."""

    settings: Settings
    redis: Redis
    pool: Pool
    front: SaleFront
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
async def build_web(settings: Settings) -> AsyncIterator[web.Application]:
    """The web role: its application, with everything behind it running until the context ends.

    Starts while PostgreSQL is away: the front sells on, ``/readyz`` says what is missing.
    """
    async with _parts(settings, "web") as parts, AsyncExitStack() as stack:
        reserve_metrics = ReserveMetrics(parts.metrics.registry)
        directory = SaleDirectory(parts.front, refresh_seconds=settings.sale_refresh_seconds)
        batchers = [
            Batcher(
                parts.redis,
                shard,
                batch_max=settings.batch_purchases_max,
                waiting_max=settings.waiting_purchases_max,
                metrics=reserve_metrics,
            )
            for shard in range(settings.shards)
        ]
        admission = Admission(
            parts.redis,
            memory_share_max=settings.store_memory_share_max,
            metrics=reserve_metrics,
        )
        reservations = Reservations(
            parts.redis,
            directory,
            batchers,
            admission,
            secret=settings.derived_key("idempotency"),
        )
        queries = OrderQueries(parts.pool, reservations)
        streams = OrderStreams(
            queries,
            streams_max=settings.order_streams_max,
            poll_seconds=settings.order_stream_poll_seconds,
            heartbeat_seconds=settings.order_stream_heartbeat_seconds,
        )
        providers = await stack.enter_async_context(open_providers(settings))
        payments = PaymentService(
            parts.pool, providers, settings, reservations, PaymentMetrics(parts.metrics.registry)
        )
        rebuilding = Rebuilding(
            parts.pool, parts.redis, parts.front, parts.sales, parts.holds, settings
        )
        endpoints: list[Endpoint] = [
            *account_routes.endpoints(parts.accounts, settings),
            *sale_routes.endpoints(directory),
            *reservation_routes.endpoints(reservations),
            *order_routes.endpoints(parts.orders, queries, streams),
            *payment_routes.endpoints(payments),
            *fulfilment_routes.endpoints(parts.fulfilment),
            *sale_admin_routes.endpoints(parts.sales),
            *rebuilding_routes.endpoints(rebuilding),
            *inventory_routes.endpoints(parts.pool),
            *reconciliation_routes.endpoints(parts.reconciliation),
            *dead_letter_routes.endpoints(DeadLetters(parts.pool, parts.holds)),
            *outbox_routes.endpoints(parts.pool),
        ]
        app = build_application(
            endpoints,
            settings=settings,
            authenticator=parts.authenticator,
            idempotency=parts.idempotency,
            checks=_checks(parts),
            metrics=parts.metrics,
        )
        app.on_shutdown.append(_ends(streams))
        watches = account_jobs.web_jobs(parts.accounts, settings)
        background: list[Run] = [
            directory.run,
            admission.run,
            streams.run,
            *(batcher.run for batcher in batchers),
            lambda stopping: run_jobs(watches, stopping),
        ]
        await stack.enter_async_context(_running(Role(background, parts.metrics)))
        yield app


@asynccontextmanager
async def build_consumer(settings: Settings) -> AsyncIterator[Role]:
    """The consumer role: the stream into PostgreSQL."""
    metrics = Metrics(role="consumer")
    redis = connect_redis(
        settings.required_redis_url(),
        timeout_seconds=settings.consumer_block_seconds + settings.store_timeout_seconds,
        connections_max=4 + 2 * settings.shards,
    )
    pool = await connect_postgres(
        settings.required_database_url(),
        connections_min=0,
        connections_max=2 + settings.shards,
        acquire_timeout_seconds=settings.database_acquire_timeout_seconds,
        application="flashorder consumer",
    )
    try:
        yield Role(
            [Consumer(redis, pool, settings, ConsumerMetrics(metrics.registry)).run], metrics
        )
    finally:
        await pool.close()
        await redis.aclose()


@asynccontextmanager
async def build_worker(settings: Settings) -> AsyncIterator[Role]:
    """The worker role: the outbox relay and everything that happens by the clock."""
    async with _parts(settings, "worker") as parts, open_providers(settings) as providers:
        outbox_metrics = OutboxMetrics(parts.metrics.registry)
        payments = PaymentService(
            parts.pool, providers, settings, metrics=PaymentMetrics(parts.metrics.registry)
        )
        relay = OutboxRelay(
            parts.pool, worker_subscriptions(parts, payments), settings, outbox_metrics
        )
        periodic = worker_jobs(parts, payments, outbox_metrics)
        yield Role([relay.run, lambda stopping: run_jobs(periodic, stopping)], parts.metrics)


def worker_subscriptions(parts: Parts, payments: PaymentService) -> dict[Topic, list[Handler]]:
    """Which room listens to what."""
    dead_letters = DeadLetters(parts.pool, parts.holds)
    return _merged(
        order_jobs.subscriptions(parts.orders, parts.settlement, parts.units),
        payment_jobs.subscriptions(payments),
        fulfilment_jobs.subscriptions(parts.fulfilment),
        consumer_jobs.subscriptions(dead_letters),
        inventory_jobs.subscriptions(Departures(parts.pool)),
    )


def worker_jobs(parts: Parts, payments: PaymentService, outbox: OutboxMetrics) -> list[Job]:
    """Everything that happens by the clock."""
    settings = parts.settings
    return [
        *account_jobs.jobs(parts.accounts, settings),
        *sale_jobs.jobs(parts.sales, settings),
        *order_jobs.jobs(parts.orders, parts.units, settings),
        *payment_jobs.jobs(payments, settings),
        *fulfilment_jobs.jobs(
            parts.fulfilment, settings, FulfilmentMetrics(parts.metrics.registry)
        ),
        *reconciliation_jobs.jobs(parts.reconciliation, settings),
        *idempotency_jobs(
            parts.idempotency, retention_seconds=settings.idempotency_retention_seconds
        ),
        *outbox_jobs.jobs(parts.pool, settings, outbox),
    ]


@asynccontextmanager
async def _parts(settings: Settings, role: str) -> AsyncIterator[Parts]:
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
            accounts=accounts,
            sales=SalesService(pool, front, StockLedger(), settings),
            holds=holds,
            orders=OrderService(pool),
            units=units,
            settlement=OrderSettlement(pool, holds, units),
            fulfilment=FulfilmentService(pool, carriers, settings),
            reconciliation=_reconciliation(redis, pool, front, settings, metrics.registry),
            idempotency=IdempotencyStore(pool, lease_seconds=settings.idempotency_lease_seconds),
            authenticator=authenticator,
            metrics=metrics,
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


def _checks(parts: Parts) -> Mapping[str, Check]:
    async def store() -> None:
        await require_store(parts.redis)

    async def database() -> None:
        with database_failures():
            await parts.pool.fetchval("SELECT 1")

    return {"store": store, "database": database}


def _merged(*subscriptions: Mapping[Topic, Handler]) -> dict[Topic, list[Handler]]:
    """Every room's handlers by topic, in the order of the rooms."""
    merged: dict[Topic, list[Handler]] = {}
    for each in subscriptions:
        for topic, handler in each.items():
            merged.setdefault(topic, []).append(handler)
    return merged


@asynccontextmanager
async def _running(role: Role) -> AsyncIterator[None]:
    """Run ``role`` beside the body; it is told to stop at the end, and awaited.

    If it ends with a failure before, the body is cancelled: a process that has lost a part of
    itself must end and be started again, not go on answering.
    """
    stopping = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(role.run(stopping))
            try:
                yield
            finally:
                stopping.set()
    except BaseExceptionGroup as failures:
        raise _lone(failures) from None


def _lone(failure: BaseException) -> BaseException:
    """What is inside of groups of one, so that a failure of ours is told as what it is."""
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure


def _ends(streams: OrderStreams) -> Callable[[web.Application], Awaitable[None]]:
    """Event streams never end by themselves, so a draining server would wait for them."""

    async def end(app: web.Application) -> None:
        streams.close()

    return end


async def _await(run: Run, stopping: asyncio.Event) -> None:
    await run(stopping)
