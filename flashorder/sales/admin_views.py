"""Sales as operators see them."""

from __future__ import annotations

import uuid

import msgspec

from flashorder.infra.http.endpoint import MoneyBody
from flashorder.kernel.clock import rfc3339
from flashorder.sales.model import Sale, SaleStatus


class ItemView(msgspec.Struct, kw_only=True):
    """One SKU of a sale; ``committed`` is the units of orders that are not cancelled."""

    sku: str
    name: str
    unit_price: MoneyBody
    list_price: MoneyBody
    per_buyer_limit: int
    allotted: int
    committed: int


class SaleView(msgspec.Struct, kw_only=True):
    """A sale as it was promised.

    ``synced``: the front was brought to this revision. ``at_front``: it has the sale at this
    moment; false of one that is synced means that it was lost, null that nobody could ask.
    ``rebuilding``: it is being filled anew, and refuses purchases meanwhile.
    """

    sale_id: uuid.UUID
    title: str
    status: SaleStatus
    starts_at: str
    ends_at: str
    payment_window_seconds: int
    generation: int
    revision: int
    synced: bool
    at_front: bool | None
    rebuilding: bool
    created_at: str
    updated_at: str
    items: list[ItemView]


class SalePage(msgspec.Struct, kw_only=True):
    """A page of sales."""

    items: list[SaleView]
    next_cursor: str | None = None


def sale_view(sale: Sale, *, at_front: bool | None) -> SaleView:
    """``sale`` on the wire."""
    return SaleView(
        sale_id=sale.sale_id,
        title=sale.title,
        status=sale.status,
        starts_at=rfc3339(sale.starts_at),
        ends_at=rfc3339(sale.ends_at),
        payment_window_seconds=sale.payment_window_seconds,
        generation=sale.generation,
        revision=sale.revision,
        synced=sale.synced,
        at_front=at_front,
        rebuilding=sale.rebuilding,
        created_at=rfc3339(sale.created_at),
        updated_at=rfc3339(sale.updated_at),
        items=[
            ItemView(
                sku=item.sku,
                name=item.name,
                unit_price=MoneyBody(item.unit_price_amount, sale.currency),
                list_price=MoneyBody(item.list_price_amount, sale.currency),
                per_buyer_limit=item.per_buyer_limit,
                allotted=item.allotted,
                committed=item.committed,
            )
            for item in sale.items
        ],
    )
