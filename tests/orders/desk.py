"""The order desk as the worker has it, over a shop."""

from __future__ import annotations

import uuid
from typing import Any

from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import transaction
from flashorder.kernel.events import Event, Topic
from flashorder.kernel.identifiers import new_id
from flashorder.notifications.relay import OutboxRelay
from flashorder.orders.jobs import subscriptions
from flashorder.orders.service import OrderService
from flashorder.orders.settlement import OrderSettlement
from flashorder.orders.units import OrderUnits
from flashorder.reservations.ports import Holds
from tests.consumer.shop import PRICE, Bought, Shop, settings


class Desk:
    def __init__(self, shop: Shop, holds: Holds | None = None) -> None:
        self.shop = shop
        self.pool = shop.pool
        holds = holds or shop.holds
        self.service = OrderService(shop.pool)
        self.units = OrderUnits(shop.pool, holds)
        self.settlement = OrderSettlement(shop.pool, holds, self.units)
        self.handlers = subscriptions(self.service, self.settlement, self.units)

    async def relay(self) -> None:
        """Handle every event that waits, those that failed before included."""
        await self.pool.execute("UPDATE outbox SET available_at = now() WHERE processed_at IS NULL")
        handlers = {topic: [handler] for topic, handler in self.handlers.items()}
        await OutboxRelay(self.pool, handlers, settings()).relay_all()

    async def redeliver(self) -> None:
        """Every event once more, as after a lost mark."""
        await self.pool.execute("UPDATE outbox SET processed_at = NULL")
        await self.relay()

    async def capture(
        self,
        bought: Bought,
        payment_id: uuid.UUID | None = None,
        *,
        amount: int = PRICE,
        currency: str = "GBP",
    ) -> uuid.UUID:
        """The payments room took money: its row, and what it tells."""
        payment_id = payment_id or new_id()
        async with transaction(self.pool) as connection:
            await connection.execute(
                "INSERT INTO payments (payment_id, order_id, buyer_id, provider,"
                " provider_reference, status, amount, currency, attempt, captured_at, keeps_order)"
                " VALUES ($1, $2, $3, 'test', $1::uuid::text, 'captured', $4, $5,"
                " (SELECT count(*) + 1 FROM payments WHERE order_id = $2), now(),"
                " NOT EXISTS (SELECT FROM payments WHERE order_id = $2 AND keeps_order))"
                " ON CONFLICT DO NOTHING",
                payment_id,
                bought.order_id,
                bought.buyer_id,
                amount,
                currency,
            )
            payload = {
                "order_id": str(bought.order_id),
                "payment_id": str(payment_id),
                "amount": amount,
                "currency": currency,
            }
            await publish(connection, [Event(Topic.PAYMENT_CAPTURED, bought.order_id, payload)])
        return payment_id

    async def pay(
        self, bought: Bought, payment_id: uuid.UUID | None = None, **how: Any
    ) -> uuid.UUID:
        payment_id = await self.capture(bought, payment_id, **how)
        await self.relay()
        return payment_id

    async def ship(self, bought: Bought) -> uuid.UUID:
        """The warehouse sent the parcel off: its row, and what it tells."""
        shipment_id = new_id()
        async with transaction(self.pool) as connection:
            await connection.execute(
                "INSERT INTO shipments (shipment_id, order_id, status, carrier, tracking_number,"
                " label_url, picking_at, packed_at, shipped_at)"
                " VALUES ($1, $2, 'shipped', 'test', $1::uuid::text, 'url', now(), now(), now())",
                shipment_id,
                bought.order_id,
            )
            await self._say_of_parcel(connection, Topic.SHIPMENT_SHIPPED, bought, shipment_id)
        return shipment_id

    async def deliver(self, bought: Bought, shipment_id: uuid.UUID) -> None:
        async with transaction(self.pool) as connection:
            await self._say_of_parcel(connection, Topic.SHIPMENT_DELIVERED, bought, shipment_id)

    async def _say_of_parcel(
        self, connection: Any, topic: Topic, bought: Bought, shipment_id: uuid.UUID
    ) -> None:
        payload = {
            "order_id": str(bought.order_id),
            "shipment_id": str(shipment_id),
            "carrier": "test",
            "tracking_number": str(shipment_id),
        }
        await publish(connection, [Event(topic, bought.order_id, payload)])

    async def expire(self, bought: Bought) -> int:
        """Let the time to pay run out, and the job find it."""
        await self.pool.execute(
            "UPDATE orders SET payment_due_at = now() WHERE order_id = $1", bought.order_id
        )
        return await self.service.expire_due(100)

    async def order(self, bought: Bought) -> Any:
        return await self.pool.fetchrow("SELECT * FROM orders WHERE order_id = $1", bought.order_id)

    async def status(self, bought: Bought) -> str:
        return (await self.order(bought))["status"]

    async def timeline(self, bought: Bought) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT type FROM order_events WHERE order_id = $1 ORDER BY version", bought.order_id
        )
        return [row["type"] for row in rows]

    async def refunds_due(self) -> list[tuple[str, str]]:
        """(payment id, reason) of every ORDER_REFUND_DUE that was told."""
        rows = await self.pool.fetch(
            "SELECT payload FROM outbox WHERE topic = 'order.refund_due' ORDER BY event_id"
        )
        return [(row["payload"]["payment_id"], row["payload"]["reason"]) for row in rows]
