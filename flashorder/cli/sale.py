"""``flashorder sale``: create and steer sales, straight on the stores."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flashorder.cli.output import JsonOption, print_json, print_record, print_table
from flashorder.cli.running import command_settings
from flashorder.kernel.clock import parse_duration, parse_rfc3339, rfc3339, utc_now
from flashorder.kernel.errors import InvalidInput, NotFound
from flashorder.kernel.identifiers import new_id, parse_id
from flashorder.kernel.money import Money

if TYPE_CHECKING:
    from datetime import datetime

    from flashorder.inventory.model import Product
    from flashorder.inventory.products import Products
    from flashorder.sales.front import SaleFront
    from flashorder.sales.model import DraftItem, Sale
    from flashorder.sales.service import SalesService

ACTOR = "cli"
SALES_LISTED_MAX = 100
SaleArgument = Annotated[str, typer.Argument(metavar="SALE", help="The id of the sale.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the commands work with."""

    sales: SalesService
    products: Products
    front: SaleFront


def register(root: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Create sales and steer them.", no_args_is_help=True)
    group.command()(create)
    group.command("list")(list_sales)
    group.command()(status)
    group.command("top-up")(top_up)
    group.command()(settle)
    for verb, text in (
        ("schedule", "Announce a draft; it opens when its start comes."),
        ("open", "Make a sale live."),
        ("pause", "Refuse purchases until the sale is resumed."),
        ("resume", "Let a paused sale go on."),
        ("close", "End purchases for good."),
    ):
        group.command(verb, help=text)(_step(verb))
    root.add_typer(group, name="sale")


def create(
    title: Annotated[str, typer.Option(help="What shoppers read.")],
    item: Annotated[
        list[str],
        typer.Option(
            metavar="SKU=UNITS@AMOUNT",
            help="Units of a SKU and their price in major units, such as 85123A=200@2.55. Repeat.",
        ),
    ],
    per_buyer_limit: Annotated[int, typer.Option(help="Units of each SKU that a buyer may have.")],
    starts_at: Annotated[str, typer.Option(help="'now', or a time such as 2026-01-02T03:04Z.")] = (
        "now"
    ),
    duration: Annotated[str, typer.Option(help="90s, 15m, 1h, 2d.")] = "1h",
    payment_window: Annotated[
        str | None, typer.Option(help="How long a buyer has to pay; as configured by default.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(help="ISO 4217; the first product's by default.")
    ] = None,
    live: Annotated[bool, typer.Option("--open", help="Make it live at once.")] = False,
    json: JsonOption = False,
) -> None:
    """Create a sale, and give it its units of stock."""
    starts = utc_now() if starts_at == "now" else parse_rfc3339(starts_at)
    ends = starts + parse_duration(duration)
    window_seconds = (
        None if payment_window is None else int(parse_duration(payment_window).total_seconds())
    )
    parts = [_parsed_item(text) for text in item]

    async def work(desk: Desk) -> Sale:
        return await _create(
            desk, title, parts, per_buyer_limit, currency, starts, ends, window_seconds, live
        )

    print_sale(sale_record(_run(work)), as_json=json)


def status(sale: SaleArgument, json: JsonOption = False) -> None:
    """Show a sale as it was promised, and what the front has left of it."""
    sale_id = parsed_sale_id(sale)

    async def work(desk: Desk) -> dict[str, Any]:
        known = await desk.sales.get(sale_id)
        there = await desk.front.read(sale_id)
        remaining = {each.sku: each.remaining for each in there.items} if there else {}
        record = sale_record(known)
        for item in record["items"]:
            item["remaining"] = remaining.get(item["sku"])
        return {"at_front": await desk.sales.is_at_front(known), **record}

    print_sale(_run(work), as_json=json)


def list_sales(
    status: Annotated[str | None, typer.Option(help="Only those of this status.")] = None,
    json: JsonOption = False,
) -> None:
    """List the newest sales."""

    async def work(desk: Desk) -> list[Sale]:
        from flashorder.sales.model import SaleStatus  # noqa: PLC0415

        if status is not None and status not in set(SaleStatus):
            raise InvalidInput(f"{status!r} is none of {', '.join(SaleStatus)}")
        wanted = None if status is None else SaleStatus(status)
        return await desk.sales.page(status=wanted, limit=SALES_LISTED_MAX)

    sales = [sale_record(sale) for sale in _run(work)]
    if json:
        print_json({"items": sales})
    else:
        print_table(sales, ("sale_id", "title", "status", "starts_at", "ends_at"))


def top_up(
    sale: SaleArgument,
    sku: Annotated[str, typer.Option(help="Which item of the sale.")],
    quantity: Annotated[int, typer.Option(help="Units to add.")],
    json: JsonOption = False,
) -> None:
    """Add units of stock to one SKU of a sale."""
    sale_id, top_up_id = parsed_sale_id(sale), new_id()
    topped = _run(
        lambda desk: desk.sales.top_up(sale_id, sku, quantity, top_up_id=top_up_id, actor=ACTOR)
    )
    print_sale(sale_record(topped), as_json=json)


def settle(sale: SaleArgument, json: JsonOption = False) -> None:
    """Give what a closed sale did not sell back to stock."""
    sale_id = parsed_sale_id(sale)
    settled = _run(lambda desk: desk.sales.settle(sale_id, actor=ACTOR))
    print_sale(sale_record(settled), as_json=json)


def _step(verb: str) -> Callable[[str, bool], None]:
    def command(sale: SaleArgument, json: JsonOption = False) -> None:
        sale_id = parsed_sale_id(sale)
        stepped = _run(lambda desk: getattr(desk.sales, verb)(sale_id))
        print_sale(sale_record(stepped), as_json=json)

    return command


async def _create(
    desk: Desk,
    title: str,
    parts: list[tuple[str, int, str]],
    per_buyer_limit: int,
    currency: str | None,
    starts_at: datetime,
    ends_at: datetime,
    payment_window_seconds: int | None,
    live: bool,
) -> Sale:
    from flashorder.sales.model import DraftItem, SaleDraft  # noqa: PLC0415

    products = [await _product(desk, sku) for sku, _, _ in parts]
    if currency is None:
        currency = products[0].unit_price.currency
    items: tuple[DraftItem, ...] = tuple(
        DraftItem(sku, units, Money.from_person(amount, currency), per_buyer_limit)
        for sku, units, amount in parts
    )
    draft = SaleDraft(title, starts_at, ends_at, items, payment_window_seconds)
    sale = await desk.sales.create(draft, actor=ACTOR)
    return await desk.sales.open(sale.sale_id) if live else sale


async def _product(desk: Desk, sku: str) -> Product:
    try:
        return await desk.products.get(sku)
    except NotFound as error:
        raise NotFound(f"--item {sku}: {error.detail}", code=error.code) from None


def _run(work: Callable[[Desk], Awaitable[Any]]) -> Any:
    async def opened() -> Any:
        async with _desk() as desk:
            return await work(desk)

    return asyncio.run(opened())


@asynccontextmanager
async def _desk() -> AsyncIterator[Desk]:
    # Heavy imports wait for the command.
    from flashorder.infra.postgres.pool import connect_postgres  # noqa: PLC0415
    from flashorder.infra.redis.connection import connect_redis  # noqa: PLC0415
    from flashorder.inventory.ledger import StockLedger  # noqa: PLC0415
    from flashorder.inventory.products import Products  # noqa: PLC0415
    from flashorder.sales.front import SaleFront  # noqa: PLC0415
    from flashorder.sales.service import SalesService  # noqa: PLC0415

    settings = command_settings()
    redis = connect_redis(
        settings.required_redis_url(), timeout_seconds=settings.store_timeout_seconds
    )
    try:
        pool = await connect_postgres(settings.required_database_url(), connections_max=2)
        try:
            front = SaleFront(redis, settings.shards)
            yield Desk(SalesService(pool, front, StockLedger(), settings), Products(pool), front)
        finally:
            await pool.close()
    finally:
        await redis.aclose()


def _parsed_item(text: str) -> tuple[str, int, str]:
    sku, equals, rest = text.partition("=")
    units, at, amount = rest.partition("@")
    if not (sku and equals and at and amount and units.isascii() and units.isdecimal()):
        raise InvalidInput(f"{text!r} is not SKU=UNITS@AMOUNT, such as 85123A=200@2.55")
    return sku, int(units[:12]), amount


def parsed_sale_id(text: str) -> uuid.UUID:
    """The id that ``text`` is, or ``InvalidInput``."""
    parsed = parse_id(text)
    if parsed is None:
        raise InvalidInput(f"{text!r} is not the id of a sale")
    return parsed


def print_sale(record: dict[str, Any], *, as_json: bool) -> None:
    """A sale as JSON, or as lines and a table of its items."""
    if as_json:
        print_json(record)
        return
    items = record.pop("items")
    print_record({name: _spoken(value) for name, value in record.items()}, as_json=False)
    columns = ["sku", "name", "unit_price", "per_buyer_limit", "allotted", "committed"]
    columns += ["remaining"] if "remaining" in items[0] else []
    print_table([{**item, "unit_price": Money(**item["unit_price"])} for item in items], columns)


def _spoken(value: Any) -> Any:
    return ("no", "yes")[value] if isinstance(value, bool) else value


def sale_record(sale: Sale) -> dict[str, Any]:
    """``sale`` as ``--json`` prints it."""
    return {
        "sale_id": str(sale.sale_id),
        "title": sale.title,
        "status": str(sale.status),
        "starts_at": rfc3339(sale.starts_at),
        "ends_at": rfc3339(sale.ends_at),
        "payment_window_seconds": sale.payment_window_seconds,
        "synced": sale.synced,
        "rebuilding": sale.rebuilding,
        "items": [
            {
                "sku": item.sku,
                "name": item.name,
                "unit_price": Money(item.unit_price_amount, sale.currency).as_json(),
                "per_buyer_limit": item.per_buyer_limit,
                "allotted": item.allotted,
                "committed": item.committed,
            }
            for item in sale.items
        ],
    }
