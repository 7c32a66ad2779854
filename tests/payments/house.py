"""What the tests of payments stand in: a simulator, a database and a web role, all of them real."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from flashorder.infra.embedded.ports import free_port
from flashorder.infra.postgres.pool import Pool
from flashorder.kernel.events import Event, Topic
from flashorder.kernel.identifiers import new_id
from flashorder.kernel.money import Money
from flashorder.payments.invariants import INVARIANTS
from flashorder.payments.model import PaymentStatus
from flashorder.payments.providers.port import PaymentReport, ProviderEvent, RefundReport
from flashorder.payments.providers.registry import ProviderRegistry
from flashorder.payments.records import Payment, Refund
from flashorder.payments.service import PaymentService
from flashorder.payments.simulator import build_payment_simulator
from flashorder.settings import Settings

TOTAL = Money(1999, "GBP")
DEADLINE_SECONDS = 10.0


def payment_settings(folder: Path, **overrides: Any) -> Settings:
    """Settings of one test: impatient, with ports of its own."""
    chosen: dict[str, Any] = {
        "secret": SecretStr("test"),
        "data_dir": folder,
        "port": 0,
        "payment_simulator_url": f"http://127.0.0.1:{free_port()}",
        "payment_silence_seconds": 0.2,
        "provider_timeout_seconds": 5.0,
        "order_wait_seconds": 0.3,
    }
    return Settings(**{**chosen, **overrides})


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What ``condition`` returns once it is true; fails after ten seconds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := await condition()):
        assert time.monotonic() < deadline, "it did not come to be in time"
        await asyncio.sleep(0.01)
    return found


@dataclass
class Simulator:
    """A simulator on a port; ``stop`` and ``start`` keep its books."""

    settings: Settings
    client: aiohttp.ClientSession
    runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return self.settings.payment_simulator_url

    async def start(self) -> None:
        self.runner = web.AppRunner(build_payment_simulator(self.settings), access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", int(self.url.rsplit(":", 1)[1])).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    async def control(self, **knobs: Any) -> dict[str, Any]:
        async with self.client.put(f"{self.url}/control", json=knobs) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def ledger(self) -> dict[str, Any]:
        async with self.client.get(f"{self.url}/ledger") as answer:
            return await answer.json()

    async def decide(self, action_url: str, decision: str) -> int:
        async with self.client.post(
            f"{action_url}/decision", json={"decision": decision}
        ) as answer:
            return answer.status

    async def delivered(self) -> dict[str, Any]:
        """The ledger once no webhook is under way."""

        async def quiet() -> dict[str, Any] | None:
            ledger = await self.ledger()
            return ledger if ledger["webhooks"]["waiting"] == 0 else None

        return await until(quiet)


@dataclass
class House:
    """The payments room of one deployment."""

    pool: Pool
    settings: Settings
    providers: ProviderRegistry
    service: PaymentService
    events: int = field(default=0)

    async def order(
        self,
        *,
        buyer_id: uuid.UUID | None = None,
        status: str = "pending_payment",
        due_in_seconds: float = 900,
        total: Money = TOTAL,
    ) -> tuple[uuid.UUID, uuid.UUID]:
        """An order row as the consumer writes it; returns (order id, buyer id)."""
        order_id, buyer_id = new_id(), buyer_id or new_id()
        await self.pool.execute(
            "INSERT INTO orders (order_id, order_number, buyer_id, currency, total_amount, "
            "accepted_at, payment_due_at) "
            "VALUES ($1, $2, $3, $4, $5, now(), now() + make_interval(secs => $6))",
            order_id,
            order_id.hex,
            buyer_id,
            total.currency,
            total.amount,
            due_in_seconds,
        )
        if status != "pending_payment":
            await self.set_order(order_id, status)
        return order_id, buyer_id

    async def set_order(self, order_id: uuid.UUID, status: str) -> None:
        """Move the order as its own room would, without its events."""
        await self.pool.execute(
            "UPDATE orders SET status = $2, "
            "paid_at = CASE WHEN $2 = 'paid' THEN now() ELSE paid_at END, "
            "cancelled_at = CASE WHEN $2 = 'cancelled' THEN now() END, "
            "cancel_reason = CASE WHEN $2 = 'cancelled' THEN 'payment_expired' END "
            "WHERE order_id = $1",
            order_id,
            status,
        )

    async def started(self, provider: str = "simulator", **order: Any) -> Payment:
        """A payment of a fresh order that waits for the buyer."""
        order_id, buyer_id = await self.order(**order)
        payment = await self.service.start(order_id, buyer_id, provider)
        assert payment.status is PaymentStatus.REQUIRES_ACTION
        assert payment.action is not None
        return payment

    async def payment(self, payment_id: uuid.UUID) -> Payment:
        return (await self.service.details(payment_id)).payment

    async def refunds(self, payment_id: uuid.UUID) -> list[Refund]:
        return (await self.service.details(payment_id)).refunds

    async def reaches(self, payment_id: uuid.UUID, status: PaymentStatus) -> Payment:
        """The payment once it is ``status``."""

        async def there() -> Payment | None:
            payment = await self.payment(payment_id)
            return payment if payment.status is status else None

        return await until(there)

    async def told(self, order_id: uuid.UUID) -> list[str]:
        """The topics published for the order, in order."""
        rows = await self.pool.fetch(
            "SELECT topic FROM outbox WHERE key = $1 ORDER BY event_id", order_id
        )
        return [row["topic"] for row in rows]

    async def violations(self) -> list[str]:
        """Names of the invariants that do not hold, once every event is processed."""
        await self.pool.execute("UPDATE outbox SET processed_at = now()")
        return [each.name for each in INVARIANTS if await self.pool.fetch(each.sql)]

    async def hear(self, topic: Topic, order_id: uuid.UUID, **payload: Any) -> None:
        """An event of another room."""
        event = Event(topic, order_id, {"order_id": str(order_id), **payload})
        if topic is Topic.ORDER_CANCELLED:
            await self.service.on_order_cancelled(event)
        else:
            await self.service.on_refund_due(event)

    def report(self, payment: Payment, status: PaymentStatus, **changes: Any) -> PaymentReport:
        """What the provider would say of ``payment``."""
        said: dict[str, Any] = {
            "reference": payment.reference or f"pay_{payment.payment_id.hex}",
            "payment_id": payment.payment_id,
            "status": status,
            "amount": payment.amount,
        }
        return PaymentReport(**{**said, **changes})

    def event(self, report: PaymentReport | RefundReport) -> ProviderEvent:
        """A webhook that says so."""
        self.events += 1
        return ProviderEvent(f"evt_{self.events}", report)
