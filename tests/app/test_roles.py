"""The composition: every part that must run does, and a role that lost one ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from flashorder.app.background import worker_jobs, worker_subscriptions
from flashorder.app.parts import open_parts
from flashorder.app.role import Role, running
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.kernel.events import Topic
from flashorder.notifications.metrics import OutboxMetrics
from flashorder.payments.providers.registry import open_providers
from flashorder.payments.service import PaymentService
from flashorder.settings import Settings

HANDLED = {
    Topic.ORDER_CANCELLED: 3,  # units go back, payments are voided, the shipment is cancelled
    Topic.ORDER_PAID_LATE: 1,
    Topic.ORDER_REFUND_DUE: 1,
    Topic.ORDER_AWAITING_SHIPMENT: 1,
    Topic.PAYMENT_CAPTURED: 1,
    Topic.REFUND_SUCCEEDED: 1,
    Topic.SHIPMENT_SHIPPED: 2,  # the order ships, and its units are no longer on hand
    Topic.SHIPMENT_DELIVERED: 1,
    Topic.DEAD_LETTER_DISCARDED: 1,
}


async def test_a_part_that_fails_ends_what_depends_on_it() -> None:
    async def fails(stopping: asyncio.Event) -> None:
        raise RuntimeError("a part is gone")

    async def body() -> None:
        async with running(Role([fails], Metrics())):
            await asyncio.sleep(30)

    with pytest.raises(RuntimeError, match="a part is gone"):
        await asyncio.wait_for(body(), 5)


async def test_the_worker_listens_to_what_the_rooms_tell(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(redis_url=redis_url, database_url=database_url, data_dir=tmp_path)
    async with open_parts(settings, "worker") as parts, open_providers(settings) as providers:
        payments = PaymentService(parts.pool, providers, settings)
        subscriptions = worker_subscriptions(parts, payments)
        outbox = OutboxMetrics(CollectorRegistry())
        names = {job.name for job in worker_jobs(parts, payments, outbox)}
    assert {topic: len(subscriptions[topic]) for topic in HANDLED} == HANDLED
    assert {
        "orders.expire",
        "orders.release_forgotten",
        "sales_late_units",
        "forget_idempotency_keys",
        "outbox.prune",
        "reconcile",
        "payments_ask_silent",
    } <= names
