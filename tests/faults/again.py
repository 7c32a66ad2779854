"""Doing things a second time of which nothing should come, and seeing what changed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis

from flashorder.kernel.identifiers import new_id
from flashorder.payments.signatures import sign
from tests.faults.clients import Buyer
from tests.faults.reading import read_labels
from tests.faults.snapshot import Recheck
from tests.faults.system import WEB, System

# Everything that an order is made of. Not here: idempotency keys, sessions, and the log of
# reconciliations, which grows with each by design.
TABLES = (
    "orders",
    "order_lines",
    "order_events",
    "dead_letters",
    "payments",
    "payment_webhooks",
    "refunds",
    "shipments",
    "shipment_events",
    "carrier_webhooks",
    "tracking_events",
    "sales",
    "sale_items",
    "sale_top_ups",
    "stock_corrections",
    "stock_movements",
    "outbox",
)
Fingerprint = dict[str, str]


async def recheck(system: System, session: aiohttp.ClientSession, operator: Buyer) -> list[Recheck]:
    """Reconcile twice, and send every webhook once more."""
    await _reconcile(system, session, operator)
    before = await fingerprint(system)
    await _reconcile(system, session, operator)
    between = await fingerprint(system)
    sent = await _webhooks_again(system, session)
    after = await fingerprint(system)
    return [
        Recheck(what="a second reconciliation", changed=_differences(before, between)),
        Recheck(what=f"{sent} webhooks once more", changed=_differences(between, after)),
    ]


async def fingerprint(system: System) -> Fingerprint:
    """A hash of each table, and of each key of the front but the stream's bookkeeping."""
    found: Fingerprint = {}
    connection = await asyncpg.connect(system.database.url)
    try:
        for table in TABLES:
            found[table] = await connection.fetchval(
                f"SELECT coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '') "
                f"FROM {table} AS t"
            )
    finally:
        await connection.close()
    async with Redis.from_url(system.store.url) as redis:
        async for key in redis.scan_iter(count=1000):
            if key.endswith(b":leases"):
                continue  # lent for some milliseconds, and forgotten by itself
            found[key.decode()] = await _key_hash(redis, key)
    return found


async def _key_hash(redis: Redis, key: bytes) -> str:
    kind = await redis.type(key)
    content: list[Any]
    if kind == b"hash":
        content = sorted((await redis.hgetall(key)).items())
    elif kind == b"set":
        content = sorted(await redis.smembers(key))
    else:
        content = [await redis.xlen(key)]
    return hashlib.sha256(repr(content).encode()).hexdigest()


async def _reconcile(system: System, session: aiohttp.ClientSession, operator: Buyer) -> None:
    headers = {"Authorization": f"Bearer {operator.token}", "Idempotency-Key": str(new_id())}
    url = f"{system.direct_url}/v1/admin/reconciliations"
    async with session.post(url, json={"cause": "chaos"}, headers=headers) as answer:
        assert answer.status < 300, await answer.text()


async def _webhooks_again(system: System, session: aiohttp.ClientSession) -> int:
    """Each webhook that was ever taken, signed anew under its own id; how many."""
    payments = system.settings.derived_key("webhooks:payments:simulator")
    carriers = system.settings.derived_key("webhooks:carriers:simulator")
    connection = await asyncpg.connect(system.database.url)
    try:
        rows = await connection.fetch("SELECT event_id, payload FROM payment_webhooks")
        taken = await connection.fetch(
            "SELECT event_id FROM carrier_webhooks UNION SELECT event_id FROM tracking_events"
        )
    finally:
        await connection.close()
    for row in rows:
        await _post(system, session, "payments", payments, row["event_id"], bytes(row["payload"]))
    sent = len(rows)
    # One that was lost on its way would be news, not a repetition.
    known = {row["event_id"] for row in taken}
    for label in await read_labels(system, session):
        for event in (each for each in label["events"] if each["event_id"] in known):
            body = {"type": "tracking.updated", "reference": label["reference"], "data": event}
            content = msgspec.json.encode(body)
            await _post(system, session, "carriers", carriers, event["event_id"], content)
            sent += 1
    return sent


async def _post(
    system: System,
    session: aiohttp.ClientSession,
    of: str,
    secret: bytes,
    event_id: str,
    body: bytes,
) -> None:
    # By the clock of who listens: what is an hour old by that is refused, and rightly.
    wrong_seconds = system.shape.clocks.get(WEB, 0.0)
    headers = sign(secret, event_id, datetime.now(UTC) + timedelta(seconds=wrong_seconds), body)
    headers["Content-Type"] = "application/json"
    url = f"{system.direct_url}/v1/webhooks/{of}/simulator"
    async with session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


def _differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
