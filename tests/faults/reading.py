"""Reading both stores and both simulators into a ``Snapshot``; past the service, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis

from flashorder.cli.verify import run_verification
from flashorder.infra.redis import keys
from flashorder.inventory.reconciliation.stream import group_state
from flashorder.settings import Settings
from tests.faults.snapshot import (
    Commitment,
    DeadLetter,
    Event,
    FrontItem,
    Item,
    Label,
    Movement,
    Order,
    Overdue,
    OwnFinding,
    Payment,
    Refund,
    Shipment,
    Snapshot,
    Stream,
)
from tests.faults.store_log import read_store_log
from tests.faults.system import System

_ORDERS = """
SELECT order_id, buyer_id, sale_id, line.sku, line.quantity, status, orders.total_amount,
       shard, intent_ms, intent_seq, hold, cancel_reason, version,
       extract(epoch FROM released_at)::float8 AS released_at,
       extract(epoch FROM payment_due_at)::float8 AS payment_due_at,
       (SELECT json_agg(json_build_object('version', e.version, 'type', e.type,
                                          'at', extract(epoch FROM e.occurred_at))
                        ORDER BY e.version)
        FROM order_events AS e WHERE e.order_id = orders.order_id) AS events
FROM orders JOIN order_lines AS line USING (order_id)
"""
_ITEMS = """
SELECT i.sale_id, i.sku, i.allotted, i.committed, i.per_buyer_limit, s.status AS sale_status,
       coalesce((SELECT sum(c.quantity) FROM stock_corrections AS c
                 WHERE c.sale_id = i.sale_id AND c.sku = i.sku AND c.outcome = 'applied'),
                0)::int AS corrections
FROM sale_items AS i JOIN sales AS s USING (sale_id)
"""
# What is late: in each line, work that should be done by now.
_OVERDUE = """
SELECT 'outbox events not delivered' AS what, count(*) FROM outbox WHERE processed_at IS NULL
UNION ALL
SELECT 'cancelled orders whose units have not come back', count(*) FROM orders
WHERE status = 'cancelled' AND released_at IS NULL
UNION ALL
SELECT 'unpaid orders past their deadline', count(*) FROM orders
WHERE status = 'pending_payment' AND payment_due_at < now() - interval '2 seconds'
UNION ALL
SELECT 'paid orders that do not move on', count(*) FROM orders
WHERE status IN ('paid', 'awaiting_shipment', 'shipped')
UNION ALL
SELECT 'payments open although their order wants none', count(*)
FROM payments JOIN orders USING (order_id)
WHERE payments.status IN ('pending', 'requires_action', 'authorized')
  AND orders.status <> 'pending_payment'
UNION ALL
SELECT 'refunds pending', count(*) FROM refunds WHERE status = 'pending'
UNION ALL
SELECT 'refunds to decide', count(*) FROM refunds_to_decide
UNION ALL
SELECT 'payment webhooks kept', count(*) FROM payment_webhooks WHERE applied_at IS NULL
UNION ALL
-- News of a label whose shipment was cancelled before we heard of it is kept, and never wanted.
SELECT 'carrier webhooks kept', count(*) FROM carrier_webhooks AS w
WHERE applied_at IS NULL
  AND EXISTS (SELECT FROM shipments AS s
              WHERE s.carrier = w.carrier AND s.tracking_number = w.tracking_number)
UNION ALL
SELECT 'labels to cancel', count(*) FROM shipments WHERE label_cancel_due_at IS NOT NULL
UNION ALL
SELECT 'top-ups not applied', count(*) FROM sale_top_ups WHERE applied_at IS NULL
UNION ALL
SELECT 'corrections not answered', count(*) FROM stock_corrections WHERE outcome IS NULL
UNION ALL
SELECT 'sales out of step', count(*) FROM sales
WHERE synced_revision < revision AND status <> 'draft'
"""


async def read_overdue(connection: asyncpg.Connection) -> list[Overdue]:
    """Everything that should be done by now."""
    return [
        Overdue(what=row["what"], count=row["count"]) for row in await connection.fetch(_OVERDUE)
    ]


async def read_streams(redis: Redis, shards: int) -> list[Stream]:
    """How far the consumers are."""
    states = [await group_state(redis, shard) for shard in range(shards)]
    return [Stream(shard=each.shard, pending=each.pending, unread=each.unread) for each in states]


async def read_snapshot(
    system: System,
    session: aiohttp.ClientSession,
    *,
    initial: Mapping[tuple[str, str], int],
    top_ups: Mapping[tuple[str, str], Sequence[int]],
    settled_seconds: float,
    demand_was_above_supply: bool,
) -> Snapshot:
    """Everything; ``initial`` and ``top_ups`` are what the operator gave, by (sale, SKU)."""
    shards = system.shape.shards
    connection = await asyncpg.connect(system.database.url)
    try:
        items = [
            Item(
                **_plain(row),
                # A draft that nobody was told of is nobody's promise.
                initial=initial.get((str(row["sale_id"]), row["sku"]), row["allotted"]),
                top_ups=list(top_ups.get((str(row["sale_id"]), row["sku"]), ())),
            )
            for row in await connection.fetch(_ITEMS)
        ]
        async with Redis.from_url(system.store.url) as redis:
            snapshot = Snapshot(
                items=items,
                front=await _front(redis, shards, items),
                orders=[_order(row) for row in await connection.fetch(_ORDERS)],
                streams=await read_streams(redis, shards),
                overdue=await read_overdue(connection),
                shards=shards,
                idempotency_secret=system.settings.derived_key("idempotency").hex(),
                settled_seconds=settled_seconds,
                demand_was_above_supply=demand_was_above_supply,
            )
        await _read_rows(connection, snapshot)
    finally:
        await connection.close()
    await _read_simulators(system, session, snapshot)
    snapshot.own_findings = await read_own_findings(system.settings)
    snapshot.log = read_store_log(system.folder.store_folder / "appendonlydir")
    return snapshot


async def read_own_findings(settings: Settings) -> list[OwnFinding]:
    """What ``flashorder verify`` says is wrong."""
    report = await run_verification(settings, settle_seconds=0.0)
    return [
        OwnFinding(
            check=f"{each.room}.{each.name}",
            violations=each.violations,
            example=str(each.examples[0]) if each.examples else "",
        )
        for each in report.checks
        if each.violations
    ]


async def _read_rows(connection: asyncpg.Connection, snapshot: Snapshot) -> None:
    snapshot.dead_letters = [
        DeadLetter(
            **_plain(row, without=("intent_ms", "intent_seq")),
            intent=(row["intent_ms"], row["intent_seq"]),
        )
        for row in await connection.fetch(
            "SELECT shard, intent_ms, intent_seq, order_id, sale_id, sku, quantity, status, "
            "released_at IS NOT NULL AS released FROM dead_letters"
        )
    ]
    snapshot.payments = [
        Payment(**_plain(row))
        for row in await connection.fetch(
            "SELECT payment_id, order_id, status, amount, refunded_amount, keeps_order, "
            "provider_reference AS reference FROM payments"
        )
    ]
    snapshot.refunds = [
        Refund(**_plain(row))
        for row in await connection.fetch(
            "SELECT refund_id, payment_id, order_id, status, amount, reason FROM refunds"
        )
    ]
    snapshot.shipments = [
        Shipment(**_plain(row))
        for row in await connection.fetch(
            "SELECT shipment_id, order_id, status, tracking_number, "
            "(SELECT data ->> 'outcome' FROM shipment_events AS e "
            " WHERE e.shipment_id = shipments.shipment_id AND type = 'label_cancelled') "
            "AS label_outcome FROM shipments"
        )
    ]
    snapshot.commitments = [
        Commitment(**_plain(row))
        for row in await connection.fetch(
            "SELECT sale_id, sku, committed, allotted FROM chaos.commitments "
            "WHERE committed > allotted"
        )
    ]


async def _front(redis: Redis, shards: int, items: Sequence[Item]) -> list[FrontItem]:
    found = []
    for item in items:
        for shard in range(shards):
            key = keys.sale_keys(shard, UUID(item.sale_id))
            stock = await redis.hget(key.stock, item.sku)
            sold = await redis.hget(key.sold, item.sku)
            if stock is not None:
                found.append(
                    FrontItem(
                        shard=shard,
                        sale_id=item.sale_id,
                        sku=item.sku,
                        stock=int(stock),
                        sold=int(sold or 0),
                    )
                )
    return found


async def _read_simulators(
    system: System, session: aiohttp.ClientSession, snapshot: Snapshot
) -> None:
    async with session.get(f"{system.simulator_urls['payments']}/ledger") as answer:
        ledger = await answer.json()
    snapshot.captures = [_movement(each) for each in ledger["captures"]]
    snapshot.provider_refunds = [_movement(each) for each in ledger["refunds"]]
    snapshot.labels = [
        Label(
            reference=each["reference"],
            tracking_number=each["tracking_number"],
            status=each["status"],
            progress=each["progress"],
        )
        for each in await read_labels(system, session)
    ]


async def read_labels(system: System, session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    """All labels in the carrier's books, each with its events."""
    labels: list[dict[str, Any]] = []
    cursor = ""
    while True:
        url = f"{system.simulator_urls['carrier']}/ledger"
        async with session.get(url, params={"limit": "1000", "cursor": cursor}) as answer:
            page = await answer.json()
        labels += page["labels"]
        cursor = page["next_cursor"]
        if not cursor:
            return labels


def _order(row: asyncpg.Record) -> Order:
    intent = None if row["intent_ms"] is None else (row["intent_ms"], row["intent_seq"])
    events = msgspec.json.decode(row["events"] or "[]", type=list[Event])
    plain = _plain(row, without=("intent_ms", "intent_seq", "events"))
    return Order(**plain, intent=intent, events=events)


def _movement(each: Mapping[str, Any]) -> Movement:
    return Movement(payment=each["payment"], ours=each["merchant_reference"], amount=each["amount"])


def _plain(row: asyncpg.Record, without: Sequence[str] = ()) -> dict[str, Any]:
    """The columns, ids as text."""
    return {
        name: str(value) if name.endswith("_id") and value is not None else value
        for name, value in row.items()
        if name not in without
    }
