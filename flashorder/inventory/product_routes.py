"""``/v1/admin/products``."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, MoneyBody, PriceBody, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.infra.http.preconditions import etag, expected_version
from flashorder.infra.postgres.pool import Pool
from flashorder.inventory.catalogue_import import ImportReport, import_catalogue_lines
from flashorder.inventory.model import (
    NAME_CHARACTERS_MAX,
    SKU_PATTERN,
    WEIGHT_GRAMS_MAX,
    Product,
    StockPolicy,
)
from flashorder.inventory.products import Products
from flashorder.kernel.clock import rfc3339
from flashorder.kernel.money import Money

OPERATOR = frozenset({Role.OPERATOR})
IMPORT_BYTES_MAX = 16 * 1024 * 1024
Sku = Annotated[str, msgspec.Meta(pattern=SKU_PATTERN, max_length=64)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=WEIGHT_GRAMS_MAX)]


class ProductBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A product to be created."""

    sku: Sku
    name: Name
    unit_price: PriceBody
    stock_policy: StockPolicy = StockPolicy.REFUSE
    weight_grams: Weight | None = None


class ProductState(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Everything of a product that can be changed; what is left out becomes its default."""

    name: Name
    unit_price: PriceBody
    stock_policy: StockPolicy = StockPolicy.REFUSE
    weight_grams: Weight | None = None
    active: bool = True


class ProductChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What of a product changes; what is left out stays."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    unit_price: PriceBody | msgspec.UnsetType = msgspec.UNSET
    stock_policy: StockPolicy | msgspec.UnsetType = msgspec.UNSET
    weight_grams: Weight | msgspec.UnsetType | None = msgspec.UNSET
    active: bool | msgspec.UnsetType = msgspec.UNSET


class ProductView(msgspec.Struct, kw_only=True):
    """A product; its ``version`` is the ETag."""

    sku: str
    name: str
    unit_price: MoneyBody
    stock_policy: StockPolicy
    weight_grams: int | None
    active: bool
    version: int
    created_at: str
    updated_at: str


class ProductPage(msgspec.Struct, kw_only=True):
    """A page of products."""

    items: list[ProductView]
    next_cursor: str | None = None


class ProductsQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """``search`` is looked for in the SKU and in the name, case aside."""

    search: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None
    active: bool | None = None


def endpoints(products: Products, pool: Pool) -> list[Endpoint]:
    """The calls on products; ``pool`` is for the import."""

    async def create(call: Call) -> Reply:
        body: ProductBody = call.body
        product = await products.create(
            Product(
                body.sku,
                body.name,
                Money(body.unit_price.amount, body.unit_price.currency),
                body.stock_policy,
                body.weight_grams,
            )
        )
        location = {"Location": f"/v1/admin/products/{product.sku}"}
        return Reply(201, _view(product), {**etag(product.version), **location})

    async def listing(call: Call) -> Reply:
        after = read_cursor(call.query.cursor, (str,))
        found = await products.page(
            after=after[0] if after else None,
            search=call.query.search,
            active=call.query.active,
            limit=call.query.limit + 1,
        )
        return page_reply(call, found, key=lambda product: (product.sku,), show=_view)

    async def detail(call: Call) -> Reply:
        product = await products.get(call.path["sku"])
        return Reply(200, _view(product), etag(product.version))

    async def change(call: Call) -> Reply:
        changes = {
            name: value
            for name, value in msgspec.structs.asdict(call.body).items()
            if value is not msgspec.UNSET
        }
        if "unit_price" in changes:
            price = changes["unit_price"]
            changes["unit_price"] = Money(price.amount, price.currency)
        product = await products.change(call.path["sku"], expected_version(call), changes)
        return Reply(200, _view(product), etag(product.version))

    async def remove(call: Call) -> Reply:
        await products.deactivate(call.path["sku"], expected_version(call))
        return Reply(204)

    async def load(call: Call) -> Reply:
        text = call.body.decode("utf-8-sig", errors="replace")
        actor = f"operator:{call.caller.account_id}"
        report = await import_catalogue_lines(pool, io.StringIO(text, newline=""), actor=actor)
        return Reply(200, report)

    def endpoint(
        method: str,
        path: str,
        handler: Callable[[Call], Awaitable[Reply]],
        summary: str,
        **more: Any,
    ) -> Endpoint:
        full = f"/v1/admin/products{path}"
        return Endpoint(method, full, handler, summary, "products", roles=OPERATOR, **more)

    missing = {404: ("sku_not_found",)}
    guarded = {**missing, 412: ("precondition_failed",)}
    return [
        endpoint(
            "POST",
            "",
            create,
            "Create a product",
            body=ProductBody,
            replies={201: ProductView},
            headers=("ETag", "Location"),
            problems={409: ("sku_taken",)},
        ),
        endpoint(
            "GET", "", listing, "Products by SKU", query=ProductsQuery, replies={200: ProductPage}
        ),
        endpoint(
            "POST",
            "/import",
            load,
            "Import a catalogue file",
            raw_body=True,
            content_type="text/csv",
            body_bytes_max=IMPORT_BYTES_MAX,
            replies={200: ImportReport},
            problems={422: ("csv_columns_unknown", "csv_invalid")},
            description=(
                "Columns: sku,name,unit_price,currency[,weight_grams] with prices in major units, "
                "or order lines in the Online Retail format. Rows that cannot be read are reported "
                "by line and left out; the same file again changes nothing."
            ),
        ),
        endpoint(
            "GET",
            "/{sku}",
            detail,
            "A product",
            replies={200: ProductView},
            problems=missing,
            headers=("ETag",),
        ),
        endpoint(
            "PUT",
            "/{sku}",
            change,
            "Replace a product, if it still is as it was read (If-Match)",
            body=ProductState,
            replies={200: ProductView},
            problems=guarded,
            headers=("ETag",),
        ),
        endpoint(
            "PATCH",
            "/{sku}",
            change,
            "Change a product, if it still is as it was read (If-Match)",
            body=ProductChange,
            replies={200: ProductView},
            problems=guarded,
            headers=("ETag",),
        ),
        endpoint(
            "DELETE",
            "/{sku}",
            remove,
            "Sell a product no more",
            replies={204: None},
            problems=guarded,
        ),
    ]


def _view(product: Product) -> ProductView:
    assert product.created_at is not None
    assert product.updated_at is not None
    return ProductView(
        sku=product.sku,
        name=product.name,
        unit_price=MoneyBody(product.unit_price.amount, product.unit_price.currency),
        stock_policy=product.stock_policy,
        weight_grams=product.weight_grams,
        active=product.active,
        version=product.version,
        created_at=rfc3339(product.created_at),
        updated_at=rfc3339(product.updated_at),
    )
