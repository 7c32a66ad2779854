"""The roles that answer nobody: the consumer, and the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from flashorder.accounts import jobs as account_jobs
from flashorder.app.parts import Parts, build_fencing, open_parts
from flashorder.app.role import Role
from flashorder.consumer import jobs as consumer_jobs
from flashorder.consumer.dead_letters import DeadLetters
from flashorder.consumer.metrics import ConsumerMetrics
from flashorder.consumer.service import Consumer, connections_wanted
from flashorder.fencing.watch import LifeWatch, Nothing
from flashorder.fulfilment import jobs as fulfilment_jobs
from flashorder.fulfilment.metrics import FulfilmentMetrics
from flashorder.infra.http.idempotency import jobs as idempotency_jobs
from flashorder.infra.jobs import Job, run_jobs
from flashorder.infra.postgres.pool import connect_postgres
from flashorder.infra.redis.connection import connect_redis
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.inventory import jobs as inventory_jobs
from flashorder.inventory.departures import Departures
from flashorder.inventory.reconciliation import jobs as reconciliation_jobs
from flashorder.kernel.events import Handler, Topic
from flashorder.notifications import jobs as outbox_jobs
from flashorder.notifications.metrics import OutboxMetrics
from flashorder.notifications.relay import OutboxRelay
from flashorder.orders import jobs as order_jobs
from flashorder.payments import jobs as payment_jobs
from flashorder.payments.metrics import PaymentMetrics
from flashorder.payments.providers.registry import open_providers
from flashorder.payments.service import PaymentService
from flashorder.sales import jobs as sale_jobs
from flashorder.settings import Settings


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
        connections_max=connections_wanted(settings.shards),
        acquire_timeout_seconds=settings.database_acquire_timeout_seconds,
        application="flashorder consumer",
    )
    try:
        consumer = Consumer(redis, pool, settings, ConsumerMetrics(metrics.registry))
        fencing = build_fencing(settings, pool, metrics.registry)
        watch = LifeWatch(redis, fencing, consumer, settings)
        yield Role([consumer.run, watch.run], metrics)
    finally:
        await pool.close()
        await redis.aclose()


@asynccontextmanager
async def build_worker(settings: Settings) -> AsyncIterator[Role]:
    """The worker role: the outbox relay and everything that happens by the clock."""
    async with open_parts(settings, "worker") as parts, open_providers(settings) as providers:
        outbox_metrics = OutboxMetrics(parts.metrics.registry)
        payments = PaymentService(
            parts.pool, providers, settings, metrics=PaymentMetrics(parts.metrics.registry)
        )
        relay = OutboxRelay(
            parts.pool, worker_subscriptions(parts, payments), settings, outbox_metrics
        )
        periodic = worker_jobs(parts, payments, outbox_metrics)
        watch = LifeWatch(parts.redis, parts.fencing, Nothing(), settings)
        yield Role(
            [relay.run, lambda stopping: run_jobs(periodic, stopping), watch.run], parts.metrics
        )


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


def _merged(*subscriptions: Mapping[Topic, Handler]) -> dict[Topic, list[Handler]]:
    """Every room's handlers by topic, in the order of the rooms."""
    merged: dict[Topic, list[Handler]] = {}
    for each in subscriptions:
        for topic, handler in each.items():
            merged.setdefault(topic, []).append(handler)
    return merged
