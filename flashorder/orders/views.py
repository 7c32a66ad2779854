"""An order as the HTTP contract shows it; times are RFC 3339, money is in minor units."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import asyncpg
import msgspec

from flashorder.infra.http.endpoint import MoneyBody
from flashorder.kernel.clock import rfc3339, rfc3339_from_ms
from flashorder.kernel.identifiers import order_number
from flashorder.orders.model import (
    ACCEPTED,
    INTERNAL_EVENTS,
    NONE,
    fulfillment_status,
    payment_status,
)
from flashorder.reservations.ports import AcceptedPurchase

Row: TypeAlias = asyncpg.Record


class LineView(msgspec.Struct):
    """One SKU of an order; name and price as they were when it was placed."""

    sku: str
    name: str
    quantity: int
    unit_price: MoneyBody
    total: MoneyBody


class TotalsView(msgspec.Struct):
    """``subtotal`` is the sum of the lines, ``total`` what is to be paid."""

    subtotal: MoneyBody
    total: MoneyBody
    paid: MoneyBody
    refunded: MoneyBody


class EventView(msgspec.Struct):
    """One entry of the timeline; ``version`` grows by one with each, those hidden included."""

    version: int
    type: str
    actor: str
    occurred_at: str
    data: dict[str, Any]


class OrderView(msgspec.Struct):
    """An order. ``status`` is ``accepted`` until its row is written; then ``version`` is 0."""

    order_id: str
    order_number: str
    kind: str
    status: str
    cancel_reason: str | None
    payment_status: str
    fulfillment_status: str
    return_status: str
    sale_id: str | None
    lines: list[LineView]
    totals: TotalsView
    currency: str
    ship_to: dict[str, Any] | None
    payment_due_at: str | None
    created_at: str
    updated_at: str
    version: int
    events: list[EventView] = []


class StaffOrderView(OrderView, kw_only=True):
    """What the staff sees besides."""

    buyer_id: str


def order_view(row: Row, events: Iterable[EventView] = ()) -> OrderView:
    """The view of a row of read_orders.sql."""
    return OrderView(**_fields(row), events=list(events))


def staff_order_view(row: Row, events: Iterable[EventView] = ()) -> StaffOrderView:
    """The same for the staff."""
    return StaffOrderView(**_fields(row), events=list(events), buyer_id=str(row["buyer_id"]))


def _fields(row: Row) -> dict[str, Any]:
    currency = row["currency"]
    lines = row["lines"] or []
    subtotal = sum(line["total_amount"] for line in lines)
    captured = int(row["captured_amount"] or 0)
    refunded = int(row["refunded_amount"] or 0)
    return {
        "order_id": str(row["order_id"]),
        "order_number": row["order_number"],
        "kind": row["kind"],
        "status": row["status"],
        "cancel_reason": row["cancel_reason"],
        "payment_status": payment_status(
            row["payment_statuses"] or (), captured, row["refund_statuses"] or (), refunded
        ),
        "fulfillment_status": fulfillment_status(row["shipment_statuses"] or ()),
        "return_status": NONE,
        "sale_id": str(row["sale_id"]) if row["sale_id"] else None,
        "lines": [_line(line, currency) for line in lines],
        "totals": TotalsView(
            subtotal=MoneyBody(subtotal, currency),
            total=MoneyBody(row["total_amount"], currency),
            paid=MoneyBody(captured, currency),
            refunded=MoneyBody(refunded, currency),
        ),
        "currency": currency,
        "ship_to": row["ship_to"],
        "payment_due_at": rfc3339(row["payment_due_at"]) if row["payment_due_at"] else None,
        "created_at": rfc3339(row["accepted_at"]),
        "updated_at": rfc3339(row["updated_at"]),
        "version": row["version"],
    }


def _line(line: Mapping[str, Any], currency: str) -> LineView:
    return LineView(
        sku=line["sku"],
        name=line["name"],
        quantity=line["quantity"],
        unit_price=MoneyBody(line["unit_price_amount"], currency),
        total=MoneyBody(line["total_amount"], currency),
    )


def event_view(row: Row) -> EventView:
    """An event as the staff sees it."""
    return EventView(
        row["version"], row["type"], row["actor"], rfc3339(row["occurred_at"]), row["data"]
    )


def buyer_event_view(row: Row) -> EventView | None:
    """An event as the buyer sees it: without the staff's names; None if it is none of theirs."""
    if row["type"] in INTERNAL_EVENTS:
        return None
    actor = row["actor"].partition(":")[0]
    return EventView(row["version"], row["type"], actor, rfc3339(row["occurred_at"]), row["data"])


def accepted_view(purchase: AcceptedPurchase) -> OrderView:
    """An order between its 202 and its row: the same shape, from what the front remembers."""
    order_id: uuid.UUID = purchase.order_id
    total = MoneyBody(purchase.quantity * purchase.unit_price_amount, purchase.currency)
    nothing = MoneyBody(0, purchase.currency)
    accepted_at = rfc3339_from_ms(purchase.accepted_ms)
    line = LineView(
        sku=purchase.sku,
        name=purchase.name,
        quantity=purchase.quantity,
        unit_price=MoneyBody(purchase.unit_price_amount, purchase.currency),
        total=total,
    )
    return OrderView(
        order_id=str(order_id),
        order_number=order_number(order_id.bytes),
        kind="seckill",
        status=ACCEPTED,
        cancel_reason=None,
        payment_status=NONE,
        fulfillment_status=NONE,
        return_status=NONE,
        sale_id=str(purchase.sale_id),
        lines=[line],
        totals=TotalsView(subtotal=total, total=total, paid=nothing, refunded=nothing),
        currency=purchase.currency,
        ship_to=None,
        payment_due_at=rfc3339_from_ms(purchase.due_ms),
        created_at=accepted_at,
        updated_at=accepted_at,
        version=0,
    )
