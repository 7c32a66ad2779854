"""What captured money means for an order: paid, paid late, or to be given back."""

from __future__ import annotations

import uuid
from typing import Any

from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import Connection, Pool, transaction
from flashorder.kernel.errors import Conflict
from flashorder.kernel.events import Event, Topic
from flashorder.orders.model import PAYMENT_EXPIRED, EventType, OrderStatus, RefundReason
from flashorder.orders.store import (
    SQL,
    Order,
    Step,
    UnitsRefused,
    append_note_once,
    find_event,
    lock_order,
    move,
)
from flashorder.orders.units import OrderUnits
from flashorder.reservations.ports import Holds, ReclaimOutcome

ACTOR = "payments"
_RECLAIMED = frozenset({ReclaimOutcome.RECLAIMED, ReclaimOutcome.ALREADY_RECLAIMED})


class OrderSettlement:
    """Handlers of the money's events; each may be called again with the same event.

    Of every captured payment exactly one of three things becomes true, and stays: the order stands
    on it (event ``paid``), it is to be refunded (event ``refund_due``), or, for a while, it is late
    (event ``paid_late``) and one of the other two follows.
    """

    def __init__(self, pool: Pool, holds: Holds, units: OrderUnits) -> None:
        self._pool = pool
        self._holds = holds
        self._units = units

    async def payment_captured(self, event: Event) -> None:
        """Handle PAYMENT_CAPTURED. ``NotFound`` while the order's row is not there yet."""
        payment_id = event.payload["payment_id"]
        async with transaction(self._pool) as connection:
            order = await lock_order(connection, event.key)
            if await _is_settled(connection, order, payment_id):
                return
            amount, currency = event.payload["amount"], event.payload["currency"]
            if (amount, currency) != (order.total_amount, order.currency):
                paid = {"amount": amount, "currency": currency}
                await refund_due(
                    connection, order, payment_id, RefundReason.AMOUNT_MISMATCH, captured=paid
                )
            elif order.status == OrderStatus.PENDING_PAYMENT:
                await move(
                    connection, [order.order_id], _paid(payment_id, OrderStatus.PENDING_PAYMENT)
                )
            elif order.status != OrderStatus.CANCELLED:
                await refund_due(connection, order, payment_id, RefundReason.DUPLICATE_PAYMENT)
            elif order.cancel_reason == PAYMENT_EXPIRED:
                await _announce_late(connection, order, payment_id)
            else:
                await refund_due(connection, order, payment_id, RefundReason.ORDER_CANCELLED)

    async def paid_late(self, event: Event) -> None:
        """Handle ORDER_PAID_LATE: take the units again and let the order stand, or refund.

        Converges from wherever a death left it: the taking names its hold, so a repeated one finds
        itself; and a decision to refund is written before the units it had taken are given back.
        """
        payment_id = event.payload["payment_id"]
        async with transaction(self._pool) as connection:
            order = await lock_order(connection, event.key)
            settled = await _is_settled(connection, order, payment_id)
            if not settled and order.status != OrderStatus.CANCELLED:
                await refund_due(connection, order, payment_id, RefundReason.DUPLICATE_PAYMENT)
                return
        if order.status == OrderStatus.CANCELLED and not order.released:
            await self._release(order)
        if settled:
            return
        if order.sale_id is None:
            await self._stand_or_refund(order, payment_id)
            return
        outcome = await self._holds.reclaim(
            order.sale_id, order.order_id, order.buyer_id, order.hold + 1
        )
        if outcome in _RECLAIMED:
            await self._stand_or_refund(order, payment_id)
        elif outcome == ReclaimOutcome.STILL_HELD:
            raise Conflict(f"hold {order.hold} of order {order.order_id} is not given back yet")
        else:
            async with transaction(self._pool) as connection:
                order = await lock_order(connection, order.order_id)
                await refund_due(
                    connection, order, payment_id, RefundReason.UNITS_GONE, outcome=outcome
                )

    async def refund_succeeded(self, event: Event) -> None:
        """Handle REFUND_SUCCEEDED: the buyer reads in the timeline that the money went back."""
        async with transaction(self._pool) as connection:
            order = await lock_order(connection, event.key)
            told = {
                "payment_id": event.payload["payment_id"],
                "amount": event.payload["amount"],
                "currency": event.payload["currency"],
            }
            source = {"source_event_id": event.event_id}
            await append_note_once(
                connection, order.order_id, EventType.REFUNDED, ACTOR, source, told
            )

    async def _stand_or_refund(self, order: Order, payment_id: str) -> None:
        """The units are taken as ``order.hold + 1``: let the order stand on them."""
        try:
            async with transaction(self._pool) as connection:
                now = await lock_order(connection, order.order_id)
                if now.hold == order.hold and now.status == OrderStatus.CANCELLED:
                    step = _paid(payment_id, OrderStatus.CANCELLED)
                    await move(connection, [order.order_id], step)
                    return
        except UnitsRefused as refusal:
            await self._refuse_taken(order, payment_id, refusal.detail)
            return
        raise Conflict(f"order {order.order_id} moved on while its units were taken again")

    async def _refuse_taken(self, order: Order, payment_id: str, why: str) -> None:
        """The front gave units that the books do not have: refund, and give them back."""
        async with transaction(self._pool) as connection:
            now = await lock_order(connection, order.order_id)
            if now.hold != order.hold or now.status != OrderStatus.CANCELLED:
                raise Conflict(f"order {order.order_id} moved on while its units were refused")
            await connection.execute(SQL["take_hold_over"], order.order_id, order.hold)
            await refund_due(connection, now, payment_id, RefundReason.UNITS_GONE, detail=why)
            taken = await lock_order(connection, order.order_id)
        await self._release(taken)

    async def _release(self, order: Order) -> None:
        if order.sale_id is not None:
            await self._units.release(order.order_id, order.sale_id, order.buyer_id, order.hold)


async def refund_due(
    connection: Connection,
    order: Order,
    payment_id: str,
    reason: RefundReason,
    **details: Any,
) -> None:
    """Say once a payment that its money must go back; the order's row is locked by the caller."""
    version = await append_note_once(
        connection,
        order.order_id,
        EventType.REFUND_DUE,
        ACTOR,
        {"payment_id": payment_id},
        {"reason": reason, **details},
    )
    if version is not None:
        payload = {
            "order_id": str(order.order_id),
            "version": version,
            "payment_id": payment_id,
            "reason": reason,
        }
        await publish(connection, [Event(Topic.ORDER_REFUND_DUE, order.order_id, payload)])


async def payment_of(connection: Connection, order_id: uuid.UUID) -> str | None:
    """The payment that the order stands, or last stood, on."""
    paid = await find_event(connection, order_id, EventType.PAID, {})
    return paid["payment_id"] if paid else None


def _paid(payment_id: str, source: OrderStatus) -> Step:
    return Step(OrderStatus.PAID, ACTOR, {"payment_id": payment_id}, sources=[source])


async def _is_settled(connection: Connection, order: Order, payment_id: str) -> bool:
    """Whether it was decided before what becomes of the payment."""
    about = {"payment_id": payment_id}
    for event in (EventType.PAID, EventType.REFUND_DUE):
        if await find_event(connection, order.order_id, event, about) is not None:
            return True
    return False


async def _announce_late(connection: Connection, order: Order, payment_id: str) -> None:
    version = await append_note_once(
        connection, order.order_id, EventType.PAID_LATE, ACTOR, {"payment_id": payment_id}, {}
    )
    if version is not None:
        payload = {"order_id": str(order.order_id), "version": version, "payment_id": payment_id}
        await publish(connection, [Event(Topic.ORDER_PAID_LATE, order.order_id, payload)])
