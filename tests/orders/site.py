"""The room's calls, served over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.idempotency import IdempotencyStore
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.identifiers import new_id
from flashorder.orders.queries import OrderQueries
from flashorder.orders.routes import endpoints
from flashorder.orders.service import OrderService
from flashorder.orders.streams import OrderStreams
from flashorder.reservations.ports import AcceptedPurchases
from tests.consumer.shop import Bought
from tests.infra.http.serving import Served, make_settings, served


class Site:
    def __init__(self, up: Served, streams: OrderStreams) -> None:
        self.up = up
        self.streams = streams
        self.operator = up.bearer(Role.OPERATOR, new_id())

    def buyer(self, bought: Bought) -> dict[str, str]:
        return self.up.bearer(Role.SHOPPER, bought.buyer_id)

    async def call(
        self, method: str, path: str, headers: Mapping[str, str], **options: Any
    ) -> tuple[int, Any, Mapping[str, str]]:
        if method == "POST":
            headers = {"Idempotency-Key": new_id().hex, **headers}
        async with self.up.client.request(method, path, headers=headers, **options) as answer:
            body = await answer.json(content_type=None) if answer.content_length else None
            return answer.status, body, answer.headers


@asynccontextmanager
async def serving(
    pool: Pool, accepted: AcceptedPurchases, *, streams_max: int = 10
) -> AsyncIterator[Site]:
    queries = OrderQueries(pool, accepted)
    streams = OrderStreams(
        queries, streams_max=streams_max, poll_seconds=0.02, heartbeat_seconds=0.05
    )
    settings = make_settings(buyer_requests_burst=1000, drain_timeout_seconds=5)
    stopping = asyncio.Event()
    running = asyncio.create_task(streams.run(stopping))
    try:
        async with served(
            endpoints(OrderService(pool), queries, streams),
            settings=settings,
            idempotency=IdempotencyStore(pool),
        ) as up:
            try:
                yield Site(up, streams)
            finally:
                streams.close()
    finally:
        stopping.set()
        await running
