"""``/v1/admin/sales``: what operators do with sales."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, MoneyBody, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.kernel.clock import rfc3339
from flashorder.kernel.errors import FieldError, InvalidInput
from flashorder.kernel.money import Money
from flashorder.sales.model import (
    ITEM_UNITS_MAX,
    ITEMS_MAX,
    PAYMENT_WINDOW_SECONDS_MAX,
    TITLE_CHARACTERS_MAX,
    DraftItem,
    Sale,
    SaleDraft,
    SaleStatus,
)
from flashorder.sales.service import SalesService

OPERATOR = frozenset({Role.OPERATOR})
Sku = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Units = Annotated[int, msgspec.Meta(ge=1, le=ITEM_UNITS_MAX)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class ItemBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Units of a SKU, at the sale's price."""

    sku: Sku
    quantity: Units
    unit_price: MoneyBody
    per_buyer_limit: Units


class SaleBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A sale to be created; without a payment window it has the configured one."""

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=TITLE_CHARACTERS_MAX)]
    starts_at: Moment
    ends_at: Moment
    items: Annotated[list[ItemBody], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]
    payment_window_seconds: (
        Annotated[int, msgspec.Meta(ge=1, le=PAYMENT_WINDOW_SECONDS_MAX)] | None
    ) = None


class TopUpBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Units to be added to one SKU of the sale."""

    sku: Sku
    quantity: Units


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
    """A sale as it was promised; ``synced``: the front works by this revision already."""

    sale_id: uuid.UUID
    title: str
    status: SaleStatus
    starts_at: str
    ends_at: str
    payment_window_seconds: int
    generation: int
    revision: int
    synced: bool
    created_at: str
    updated_at: str
    items: list[ItemView]


class SalePage(msgspec.Struct, kw_only=True):
    """A page of sales."""

    items: list[SaleView]
    next_cursor: str | None = None


class SalesQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """``status`` narrows the list."""

    status: SaleStatus | None = None


Step = Callable[[uuid.UUID], Awaitable[Sale]]


def endpoints(service: SalesService) -> list[Endpoint]:
    """The calls of operators."""

    async def create(call: Call) -> Reply:
        sale = await service.create(_draft(call.body), actor=_actor(call))
        return Reply(201, sale_view(sale), {"Location": f"/v1/admin/sales/{sale.sale_id}"})

    async def listing(call: Call) -> Reply:
        before = read_cursor(call.query.cursor, (uuid.UUID,))
        found = await service.page(
            status=call.query.status,
            before=before[0] if before else None,
            limit=call.query.limit + 1,
        )
        return page_reply(call, found, key=lambda sale: (sale.sale_id,), show=sale_view)

    async def detail(call: Call) -> Reply:
        return Reply(200, sale_view(await service.get(call.path_id("sale_id"))))

    async def top_up(call: Call) -> Reply:
        caller_id = call.caller.account_id
        sale_id = call.path_id("sale_id")
        sale = await service.top_up(
            sale_id,
            call.body.sku,
            call.body.quantity,
            # Of the key, so that a call whose answer was lost adds nothing the second time.
            top_up_id=uuid.uuid5(caller_id, f"top-up:{sale_id}:{call.idempotency_key}"),
            actor=_actor(call),
            requested_by=caller_id,
        )
        return Reply(200, sale_view(sale))

    async def settle(call: Call) -> Reply:
        sale = await service.settle(call.path_id("sale_id"), actor=_actor(call))
        return Reply(200, sale_view(sale))

    def step(verb: str, take: Step, summary: str, description: str = "") -> Endpoint:
        async def handler(call: Call) -> Reply:
            return Reply(200, sale_view(await take(call.path_id("sale_id"))))

        return verb_endpoint(verb, handler, summary, description=description)

    def verb_endpoint(
        verb: str, handler: Callable[[Call], Awaitable[Reply]], summary: str, **more: Any
    ) -> Endpoint:
        return _endpoint(
            "POST",
            f"/{{sale_id}}/{verb}",
            handler,
            summary,
            **{
                "replies": {200: SaleView},
                "problems": {404: ("sale_not_found",), 409: ("invalid_state",)},
                **more,
            },
        )

    return [
        _endpoint(
            "POST",
            "",
            create,
            "Create a sale, and give it its units of stock",
            body=SaleBody,
            replies={201: SaleView},
            headers=("Location",),
            problems={409: ("insufficient_stock",)},
        ),
        _endpoint(
            "GET", "", listing, "Sales, newest first", query=SalesQuery, replies={200: SalePage}
        ),
        _endpoint(
            "GET",
            "/{sale_id}",
            detail,
            "A sale as it was promised",
            replies={200: SaleView},
            problems={404: ("sale_not_found",)},
        ),
        step("schedule", service.schedule, "Announce a draft; it opens when its start comes"),
        step(
            "open",
            service.open,
            "Make a sale live",
            "Before `starts_at` a live sale still refuses purchases (425).",
        ),
        step("pause", service.pause, "Refuse purchases until the sale is resumed"),
        step("resume", service.resume, "Let a paused sale go on"),
        step("close", service.close, "End purchases for good"),
        verb_endpoint(
            "top-up",
            top_up,
            "Add units of stock to a sale",
            body=TopUpBody,
            idempotent=True,
            problems={
                404: ("sale_not_found", "sku_not_in_sale"),
                409: ("invalid_state", "insufficient_stock"),
            },
        ),
        verb_endpoint(
            "settle",
            settle,
            "Give what a closed sale did not sell back to stock",
            problems={
                404: ("sale_not_found",),
                409: ("invalid_state", "sale_not_drained"),
                503: ("store_unavailable",),
            },
        ),
    ]


def _endpoint(
    method: str,
    path: str,
    handler: Callable[[Call], Awaitable[Reply]],
    summary: str,
    **more: Any,
) -> Endpoint:
    full = f"/v1/admin/sales{path}"
    return Endpoint(method, full, handler, summary, "sales", roles=OPERATOR, **more)


def sale_view(sale: Sale) -> SaleView:
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


def _draft(body: SaleBody) -> SaleDraft:
    return SaleDraft(
        title=body.title,
        starts_at=body.starts_at,
        ends_at=body.ends_at,
        items=tuple(_item(item, index) for index, item in enumerate(body.items)),
        payment_window_seconds=body.payment_window_seconds,
    )


def _item(item: ItemBody, index: int) -> DraftItem:
    try:
        price = Money(item.unit_price.amount, item.unit_price.currency)
    except InvalidInput as error:
        pointer = f"/items/{index}/unit_price"
        raise InvalidInput(
            error.detail, fields=(FieldError(pointer, "invalid_value", error.detail),)
        ) from None
    return DraftItem(item.sku, item.quantity, price, item.per_buyer_limit)


def _actor(call: Call) -> str:
    return f"{call.caller.role}:{call.caller.account_id}"
