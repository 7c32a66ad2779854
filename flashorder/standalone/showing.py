"""Until a visitor finds the sale: the store may have lost it while PostgreSQL kept it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from flashorder.infra.postgres.pool import connect_postgres
from flashorder.kernel.errors import FlashorderError
from flashorder.settings import Settings
from flashorder.standalone.probe import until_ok

SHOWN_TIMEOUT_SECONDS = 15.0
REBUILD_TIMEOUT_SECONDS = 60.0
Rebuild = Callable[[Settings, uuid.UUID], Awaitable[object]]
"""Gives the store back a sale that it has lost; raises ``FlashorderError``."""


async def until_shown(
    settings: Settings,
    url: str,
    sale_id: uuid.UUID,
    *,
    rebuild: Rebuild | None,
    say: Callable[[str], None],
) -> None:
    """Return once the service at ``url`` shows the sale, or it was ``say``-d why it does not.

    A sale that the store has lost is rebuilt; without ``rebuild`` (the store is not ours, others
    may be at work on it) that is left to an operator. Bounded; raises no ``FlashorderError``.
    """
    way_out = f"the store has lost sale {sale_id}: run flashorder rebuild --sale {sale_id}"
    try:
        if await is_lost(settings, sale_id):
            if rebuild is None:
                say(way_out)
                return
            async with asyncio.timeout(REBUILD_TIMEOUT_SECONDS):
                await rebuild(settings, sale_id)
            say(f"the store had lost sale {sale_id}: it was rebuilt from PostgreSQL")
    except TimeoutError:
        say(f"{way_out} (tried at the start, not done in {REBUILD_TIMEOUT_SECONDS:.0f} s)")
        return
    except FlashorderError as error:
        say(f"{way_out} (tried at the start: {error.detail})")
        return
    try:
        async with asyncio.timeout(SHOWN_TIMEOUT_SECONDS):
            # The web workers look at the front now and then: the visitor must not come before.
            await until_ok(f"{url}/v1/sales/{sale_id}")
    except TimeoutError:
        say(f"sale {sale_id} is not shown yet: see flashorder verify")


async def is_lost(settings: Settings, sale_id: uuid.UUID) -> bool:
    """Whether the store lacks a sale that it was told of, or has not got all of it back yet."""
    from flashorder.infra.redis.connection import connect_redis  # noqa: PLC0415 - heavy
    from flashorder.inventory.ledger import StockLedger  # noqa: PLC0415
    from flashorder.sales.front import SaleFront  # noqa: PLC0415
    from flashorder.sales.service import SalesService  # noqa: PLC0415

    redis = connect_redis(settings.required_redis_url())
    try:
        pool = await connect_postgres(settings.required_database_url(), connections_max=1)
        try:
            sales = SalesService(pool, SaleFront(redis, settings.shards), StockLedger(), settings)
            sale = await sales.get(sale_id)
            if sale.synced_revision == 0:
                return False
            return sale.rebuilding or not await sales.is_at_front(sale)
        finally:
            await pool.close()
    finally:
        await redis.aclose()
