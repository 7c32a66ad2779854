"""The web role: every call of the contract, and the hot path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from flashorder.accounts import jobs as account_jobs
from flashorder.accounts import routes as account_routes
from flashorder.app.parts import Parts, open_parts
from flashorder.app.role import Role, Run, running
from flashorder.consumer import routes as dead_letter_routes
from flashorder.consumer.dead_letters import DeadLetters
from flashorder.fencing.watch import LifeWatch, ToldLines
from flashorder.fulfilment import routes as fulfilment_routes
from flashorder.infra.http.application import build_application
from flashorder.infra.http.endpoint import Endpoint
from flashorder.infra.http.operations import Check
from flashorder.infra.jobs import run_jobs
from flashorder.infra.postgres.pool import database_failures
from flashorder.infra.redis.requirements import require_store
from flashorder.inventory import routes as inventory_routes
from flashorder.inventory.reconciliation import routes as reconciliation_routes
from flashorder.notifications import routes as outbox_routes
from flashorder.orders import routes as order_routes
from flashorder.orders.accepted import RememberedPurchases
from flashorder.orders.queries import OrderQueries
from flashorder.orders.streams import OrderStreams
from flashorder.payments import routes as payment_routes
from flashorder.payments.metrics import PaymentMetrics
from flashorder.payments.providers.registry import open_providers
from flashorder.payments.service import PaymentService
from flashorder.rebuilding import routes as rebuilding_routes
from flashorder.rebuilding.service import Rebuilding
from flashorder.reservations import receipt_routes
from flashorder.reservations import routes as reservation_routes
from flashorder.reservations.admission import Admission
from flashorder.reservations.batching import Batcher
from flashorder.reservations.honouring import Honouring
from flashorder.reservations.metrics import ReserveMetrics
from flashorder.reservations.service import Reservations
from flashorder.reservations.sold_out import SoldOut
from flashorder.sales import admin_routes as sale_admin_routes
from flashorder.sales import routes as sale_routes
from flashorder.sales.directory import SaleDirectory
from flashorder.sales.memory import FrontMemory
from flashorder.settings import Settings


@asynccontextmanager
async def build_web(settings: Settings) -> AsyncIterator[web.Application]:
    """The web role: its application, with everything behind it running until the context ends.

    Starts while PostgreSQL is away: the front sells on, ``/readyz`` says what is missing.
    """
    async with open_parts(settings, "web") as parts, AsyncExitStack() as stack:
        reserve_metrics = ReserveMetrics(parts.metrics.registry)
        directory = SaleDirectory(parts.front, refresh_seconds=settings.sale_refresh_seconds)
        batchers = [
            Batcher(
                parts.redis,
                shard,
                batch_max=settings.batch_purchases_max,
                waiting_max=settings.waiting_purchases_max,
                metrics=reserve_metrics,
                fence=parts.fencing,
            )
            for shard in range(settings.shards)
        ]
        admission = Admission(
            parts.redis,
            memory_share_max=settings.store_memory_share_max,
            metrics=reserve_metrics,
        )
        sold_out = SoldOut(
            parts.redis,
            skus_max=settings.sold_out_skus_max,
            tokens_max=settings.sold_out_tokens_max,
            metrics=reserve_metrics,
        )
        memory = FrontMemory(parts.pool, parts.front)
        reservations = Reservations(
            parts.redis,
            directory,
            batchers,
            admission,
            sold_out,
            memory=memory,
            secret=settings.derived_key("idempotency"),
        )
        honouring = Honouring(parts.redis, settings.shards, admission, parts.fencing)
        stack.push_async_callback(honouring.close)
        told = ToldLines([batcher.told for batcher in batchers], honouring.told)
        watch = LifeWatch(parts.redis, parts.fencing, told, settings)
        accepted = RememberedPurchases(reservations, memory)
        queries = OrderQueries(parts.pool, accepted)
        streams = OrderStreams(
            queries,
            streams_max=settings.order_streams_max,
            poll_seconds=settings.order_stream_poll_seconds,
            heartbeat_seconds=settings.order_stream_heartbeat_seconds,
        )
        providers = await stack.enter_async_context(open_providers(settings))
        payments = PaymentService(
            parts.pool, providers, settings, accepted, PaymentMetrics(parts.metrics.registry)
        )
        rebuilding = Rebuilding(
            parts.pool,
            parts.redis,
            parts.front,
            parts.sales,
            parts.holds,
            parts.fencing,
            settings,
        )
        endpoints: list[Endpoint] = [
            *account_routes.endpoints(parts.accounts, settings),
            *sale_routes.endpoints(directory),
            *reservation_routes.endpoints(reservations),
            *receipt_routes.endpoints(reservations, honouring, reserve_metrics),
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
            sold_out.run,
            streams.run,
            *(batcher.run for batcher in batchers),
            watch.run,
            lambda stopping: run_jobs(watches, stopping),
        ]
        await stack.enter_async_context(running(Role(background, parts.metrics)))
        yield app


def _checks(parts: Parts) -> Mapping[str, Check]:
    async def store() -> None:
        await require_store(parts.redis)

    async def database() -> None:
        with database_failures():
            await parts.pool.fetchval("SELECT 1")

    return {"store": store, "database": database}


def _ends(streams: OrderStreams) -> Callable[[web.Application], Awaitable[None]]:
    """Event streams never end by themselves, so a draining server would wait for them."""

    async def end(app: web.Application) -> None:
        streams.close()

    return end
