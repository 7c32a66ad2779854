"""What shoppers see of the sales, from the front alone."""

from __future__ import annotations

import uuid

import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, MoneyBody, Reply
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.kernel.clock import rfc3339_from_ms
from flashorder.kernel.errors import NotFound
from flashorder.sales.directory import SaleDirectory
from flashorder.sales.front import FrontItem, FrontSale
from flashorder.sales.model import SaleStatus

STALE = {"Warning": '110 flashorder "Response is Stale"'}
STALE_HEADERS = ("Age", "Warning")


class PublicItem(msgspec.Struct, kw_only=True):
    """One SKU of a sale as shoppers see it; ``remaining`` is units."""

    sku: str
    name: str
    unit_price: MoneyBody
    list_price: MoneyBody
    per_buyer_limit: int
    remaining: int
    sold_out: bool


class PublicSale(msgspec.Struct, kw_only=True):
    """A sale as shoppers see it. ``server_time`` is by the clock that decides the window."""

    sale_id: uuid.UUID
    title: str
    status: SaleStatus
    starts_at: str
    ends_at: str
    server_time: str
    items: list[PublicItem]


class PublicSalePage(msgspec.Struct, kw_only=True):
    """A page of sales."""

    items: list[PublicSale]
    next_cursor: str | None = None


class PublicSales(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """``status`` narrows the list."""

    status: SaleStatus | None = None


def endpoints(directory: SaleDirectory) -> list[Endpoint]:
    """The calls of shoppers; answered from memory, so they hold while the stores are away."""

    async def listing(call: Call) -> Reply:
        after = read_cursor(call.query.cursor, (uuid.UUID,))
        await directory.freshen()
        now_ms = directory.now_ms()
        sales = [
            sale
            for sale in directory.all()
            if (after is None or sale.sale_id < after[0])
            and call.query.status in (None, _status_now(sale, now_ms))
        ]
        reply = page_reply(
            call,
            sales[: call.query.limit + 1],
            key=lambda sale: (sale.sale_id,),
            show=lambda sale: public_sale(sale, now_ms),
        )
        return Reply(reply.status, reply.body, {**reply.headers, **_freshness(directory)})

    async def detail(call: Call) -> Reply:
        sale_id = call.path_id("sale_id")
        await directory.freshen()
        sale = await directory.find(sale_id)
        if sale is None:
            raise NotFound("there is no such sale", code="sale_not_found")
        return Reply(200, public_sale(sale, directory.now_ms()), _freshness(directory))

    return [
        Endpoint(
            "GET",
            "/v1/sales",
            listing,
            "The sales that are announced, running or just over",
            "sales",
            query=PublicSales,
            replies={200: PublicSalePage},
            headers=STALE_HEADERS,
            problems={503: ("store_unavailable",)},
        ),
        Endpoint(
            "GET",
            "/v1/sales/{sale_id}",
            detail,
            "A sale, with what is left of each item",
            "sales",
            replies={200: PublicSale},
            headers=STALE_HEADERS,
            problems={404: ("sale_not_found",), 503: ("store_unavailable",)},
            description=(
                "`remaining` may be a fraction of a second old. While the store cannot be asked, "
                "the last answer stands, with `Warning: 110` and its `Age`."
            ),
        ),
    ]


def public_sale(sale: FrontSale, now_ms: int) -> PublicSale:
    """``sale`` at ``now_ms`` of the store's clock."""
    return PublicSale(
        sale_id=sale.sale_id,
        title=sale.title,
        status=_status_now(sale, now_ms),
        starts_at=rfc3339_from_ms(sale.starts_at_ms),
        ends_at=rfc3339_from_ms(sale.ends_at_ms),
        server_time=rfc3339_from_ms(now_ms),
        items=[_public_item(item, sale.currency) for item in sale.items],
    )


def _public_item(item: FrontItem, currency: str) -> PublicItem:
    remaining = item.remaining or 0
    return PublicItem(
        sku=item.sku,
        name=item.name,
        unit_price=MoneyBody(item.unit_price_amount, currency),
        list_price=MoneyBody(item.list_price_amount, currency),
        per_buyer_limit=item.per_buyer_limit,
        remaining=remaining,
        sold_out=remaining == 0,
    )


def _status_now(sale: FrontSale, now_ms: int) -> SaleStatus:
    """The front refuses purchases from the end on; that nobody has said so yet is no matter."""
    return SaleStatus.CLOSED if now_ms >= sale.ends_at_ms else sale.status


def _freshness(directory: SaleDirectory) -> dict[str, str]:
    if not directory.stale:
        return {}
    return {**STALE, "Age": str(round(directory.age_seconds))}
