"""``/v1/admin/sales``: what operators do with sales."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, PriceBody, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.kernel.errors import FieldError, InvalidInput
from flashorder.kernel.money import Money
from flashorder.sales.admin_views import SalePage, SaleView, sale_view
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

SALE_BYTES_MAX = 128 * 1024
"""Room for ``ITEMS_MAX`` items, each as long as it can be, indented."""
OPERATOR = frozenset({Role.OPERATOR})
Sku = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Units = Annotated[int, msgspec.Meta(ge=1, le=ITEM_UNITS_MAX)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class ItemBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Units of a SKU, at the sale's price."""

    sku: Sku
    quantity: Units
    unit_price: PriceBody
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


class SalesQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """``status`` narrows the list."""

    status: SaleStatus | None = None


Step = Callable[[uuid.UUID], Awaitable[Sale]]


def endpoints(service: SalesService) -> list[Endpoint]:
    """The calls of operators."""

    async def create(call: Call) -> Reply:
        key = call.idempotency_key
        sale = await service.create(
            _draft(call.body),
            actor=_actor(call),
            # Of the key, as of a top-up: a call whose answer was lost makes no second sale.
            request_id=uuid.uuid5(call.caller.account_id, f"sale:{key}") if key else None,
        )
        view = sale_view(sale, at_front=False)
        return Reply(201, view, {"Location": f"/v1/admin/sales/{sale.sale_id}"})

    async def listing(call: Call) -> Reply:
        before = read_cursor(call.query.cursor, (uuid.UUID,))
        found = await service.page(
            status=call.query.status,
            before=before[0] if before else None,
            limit=call.query.limit + 1,
        )
        there = await service.at_front(found)
        return page_reply(
            call,
            found,
            key=lambda sale: (sale.sale_id,),
            show=lambda sale: sale_view(sale, at_front=there.get(sale.sale_id)),
        )

    async def shown(sale: Sale) -> Reply:
        there = await service.at_front([sale])
        return Reply(200, sale_view(sale, at_front=there.get(sale.sale_id)))

    async def detail(call: Call) -> Reply:
        return await shown(await service.get(call.path_id("sale_id")))

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
        return await shown(sale)

    async def settle(call: Call) -> Reply:
        return await shown(await service.settle(call.path_id("sale_id"), actor=_actor(call)))

    def step(verb: str, take: Step, summary: str, description: str = "") -> Endpoint:
        async def handler(call: Call) -> Reply:
            return await shown(await take(call.path_id("sale_id")))

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
            description="With an Idempotency-Key the same call makes no second sale.",
            body=SaleBody,
            body_bytes_max=SALE_BYTES_MAX,
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
            idempotent=True,
            description="Refused with Retry-After until nothing of the sale is in flight.",
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
