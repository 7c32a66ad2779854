"""What buyers, operators, the warehouse and time do to an order."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from flashorder.infra.postgres.pool import Connection, Pool, transaction
from flashorder.kernel.errors import InvalidInput, InvalidState, NotFound, PreconditionFailed
from flashorder.kernel.events import Event
from flashorder.orders.model import (
    ORDER,
    PAYMENT_EXPIRED,
    RESERVED_REASONS,
    EventType,
    OrderStatus,
    RefundReason,
)
from flashorder.orders.settlement import payment_of, refund_due
from flashorder.orders.store import (
    SQL,
    Order,
    Step,
    append_note,
    append_note_once,
    lock_order,
    move,
)

_CHANGEABLE = frozenset(
    {OrderStatus.PENDING_PAYMENT, OrderStatus.PAID, OrderStatus.AWAITING_SHIPMENT}
)


class OrderService:
    """The transitions that do not come from money. Each is one transaction, guarded by the state.

    Methods that take ``buyer_id`` raise ``NotFound`` for somebody else's order. A transition that
    is not open raises ``InvalidState``.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def cancel_own(self, order_id: uuid.UUID, buyer_id: uuid.UUID, reason: str) -> None:
        """The buyer gives the order up; paid money goes back."""
        await self._cancel(order_id, reason, "buyer", buyer_id)

    async def cancel(self, order_id: uuid.UUID, operator_id: uuid.UUID, reason: str) -> None:
        """An operator ends the order; paid money goes back."""
        await self._cancel(order_id, reason, f"operator:{operator_id}", None)

    async def confirm_receipt(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> None:
        """The buyer has the goods: shipped → completed. Said again, it changes nothing."""
        await self._advance(order_id, Step(OrderStatus.COMPLETED, "buyer"), buyer_id)

    async def complete(self, order_id: uuid.UUID, operator_id: uuid.UUID) -> None:
        """An operator knows that the buyer has the goods: the same, in the operator's name."""
        await self._advance(order_id, Step(OrderStatus.COMPLETED, f"operator:{operator_id}"))

    async def release_to_warehouse(self, order_id: uuid.UUID, operator_id: uuid.UUID) -> None:
        """paid → awaiting_shipment. Said again, it changes nothing."""
        step = Step(OrderStatus.AWAITING_SHIPMENT, f"operator:{operator_id}")
        await self._advance(order_id, step)

    async def change_address(
        self,
        order_id: uuid.UUID,
        buyer_id: uuid.UUID,
        address_id: uuid.UUID,
        version: int | None = None,
    ) -> None:
        """Ship to another of the buyer's addresses, as it is now.

        Only until a carrier is asked for the label: what it prints is where the parcel goes. Raises
        ``InvalidState`` after that, ``NotFound`` (``address_not_found``), and
        ``PreconditionFailed`` when ``version`` is given and is not the order's.
        """
        async with transaction(self._pool) as connection:
            order = await _owned(connection, order_id, buyer_id)
            require_version(order.version, version)
            if order.status not in _CHANGEABLE:
                raise InvalidState(f"an order that is {order.status} cannot change its address")
            if await connection.fetchval(SQL["label_is_asked_for"], order_id):
                raise InvalidState("the carrier has the present address: the parcel goes there")
            if not await connection.fetchval(SQL["set_address"], order_id, address_id, buyer_id):
                raise NotFound(code="address_not_found")
            await append_note(
                connection,
                order_id,
                EventType.ADDRESS_CHANGED,
                "buyer",
                {"address_id": str(address_id)},
            )

    async def add_note(self, order_id: uuid.UUID, author: str, text: str) -> int:
        """Words of the staff in the timeline, unseen by the buyer; returns the version."""
        async with transaction(self._pool) as connection:
            return await append_note(connection, order_id, EventType.NOTE, author, {"text": text})

    async def shipment_shipped(self, event: Event) -> None:
        """Handle SHIPMENT_SHIPPED: awaiting_shipment → shipped.

        A parcel that left for an order which does not await one is noted for the staff: a fact
        cannot be refused.
        """
        parcel = {
            key: event.payload.get(key) for key in ("shipment_id", "carrier", "tracking_number")
        }
        async with transaction(self._pool) as connection:
            order = await lock_order(connection, event.key)
            if await move(
                connection, [order.order_id], Step(OrderStatus.SHIPPED, "warehouse", parcel)
            ):
                return
            if order.status in (OrderStatus.SHIPPED, OrderStatus.COMPLETED):
                return
            await append_note_once(
                connection,
                order.order_id,
                EventType.SHIPPED_OUT_OF_TURN,
                "warehouse",
                {"shipment_id": parcel["shipment_id"]},
                parcel,
            )

    async def shipment_delivered(self, event: Event) -> None:
        """Handle SHIPMENT_DELIVERED: a note; the order completes some time after it."""
        shipment_id = event.payload["shipment_id"]
        async with transaction(self._pool) as connection:
            order = await lock_order(connection, event.key)
            await connection.execute(SQL["set_delivered"], order.order_id)
            await append_note_once(
                connection,
                order.order_id,
                EventType.DELIVERED,
                "carrier",
                {"shipment_id": shipment_id},
                {},
            )

    async def expire_due(self, orders_max: int) -> int:
        """Cancel up to ``orders_max`` orders whose time to pay is over; returns how many."""
        step = Step(
            OrderStatus.CANCELLED,
            "expiry",
            reason=PAYMENT_EXPIRED,
            sources=[OrderStatus.PENDING_PAYMENT],
        )
        return await self._move_due("due_unpaid", [orders_max], step)

    async def release_paid(self, orders_max: int) -> int:
        """Release up to ``orders_max`` paid orders to the warehouse; returns how many."""
        step = Step(OrderStatus.AWAITING_SHIPMENT, "autopilot")
        return await self._move_due("due_release", [orders_max], step)

    async def complete_delivered(self, delay_seconds: float, orders_max: int) -> int:
        """Complete orders delivered ``delay_seconds`` ago or earlier; returns how many."""
        step = Step(OrderStatus.COMPLETED, "completion")
        return await self._move_due("due_completion", [delay_seconds, orders_max], step)

    async def _advance(
        self, order_id: uuid.UUID, step: Step, buyer_id: uuid.UUID | None = None
    ) -> None:
        async with transaction(self._pool) as connection:
            order = await _owned(connection, order_id, buyer_id)
            if not await move(connection, [order_id], step) and order.status != step.to:
                ORDER.check(order.status, step.to)

    async def _move_due(self, statement: str, arguments: Sequence[Any], step: Step) -> int:
        async with transaction(self._pool) as connection:
            rows = await connection.fetch(SQL[statement], *arguments)
            return len(await move(connection, [row["order_id"] for row in rows], step))

    async def _cancel(
        self, order_id: uuid.UUID, reason: str, actor: str, buyer_id: uuid.UUID | None
    ) -> None:
        if reason in RESERVED_REASONS:
            raise InvalidInput(f"{reason} is not a reason that can be given")
        async with transaction(self._pool) as connection:
            order = await _owned(connection, order_id, buyer_id)
            if await _parcel_has_left(connection, order_id):
                raise InvalidState("the parcel has left the house: ask for a return instead")
            if not await move(
                connection, [order_id], Step(OrderStatus.CANCELLED, actor, reason=reason)
            ):
                ORDER.check(order.status, OrderStatus.CANCELLED)
            if order.status != OrderStatus.PENDING_PAYMENT:
                payment_id = await payment_of(connection, order_id)
                if payment_id is not None:
                    await refund_due(connection, order, payment_id, RefundReason.ORDER_CANCELLED)


def require_version(present: int, expected: int | None) -> None:
    """Raise ``PreconditionFailed`` unless ``expected`` is None or the present version."""
    if expected is not None and expected != present:
        raise PreconditionFailed(f"the order is at version {present}")


async def _owned(connection: Connection, order_id: uuid.UUID, buyer_id: uuid.UUID | None) -> Order:
    order = await lock_order(connection, order_id)
    if buyer_id is not None and order.buyer_id != buyer_id:
        raise NotFound(code="order_not_found")
    return order


async def _parcel_has_left(connection: Connection, order_id: uuid.UUID) -> bool:
    return bool(await connection.fetchval(SQL["parcel_has_left"], order_id))
