"""``/v1/admin/stock``."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.inventory.model import MOVEMENT_UNITS_MAX, Cause, Level, Movement, MovementKind
from flashorder.inventory.stock import Stock
from flashorder.kernel.clock import rfc3339
from flashorder.kernel.errors import FieldError, InvalidInput

OPERATOR = frozenset({Role.OPERATOR})
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class ReceiveBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Units that came in; ``reference`` is the delivery note."""

    quantity: Annotated[int, msgspec.Meta(ge=1, le=MOVEMENT_UNITS_MAX)]
    cause: Text = Cause.DELIVERY
    reference: Text | None = None


class AdjustBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The difference that a count found: units, negative for missing ones; and why."""

    quantity: Annotated[int, msgspec.Meta(ge=-MOVEMENT_UNITS_MAX, le=MOVEMENT_UNITS_MAX)]
    cause: Text
    reference: Text | None = None


class MovementView(msgspec.Struct, kw_only=True):
    """An entry of the ledger; ``quantity`` is signed units."""

    movement_id: uuid.UUID
    sku: str
    kind: MovementKind
    quantity: int
    cause: str
    reference: str | None
    actor: str
    occurred_at: str


class MovementPage(msgspec.Struct, kw_only=True):
    """A page of the ledger."""

    items: list[MovementView]
    next_cursor: str | None = None


class LevelPage(msgspec.Struct, kw_only=True):
    """A page of levels."""

    items: list[Level]
    next_cursor: str | None = None


class MovementsQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """Entries of a SKU, of a kind, or that belong to a sale, an order or a delivery note."""

    sku: Text | None = None
    kind: MovementKind | None = None
    reference: Text | None = None


def endpoints(stock: Stock) -> list[Endpoint]:
    """The calls on stock."""

    async def levels(call: Call) -> Reply:
        after = read_cursor(call.query.cursor, (str,))
        found = await stock.levels(after=after[0] if after else None, limit=call.query.limit + 1)
        return page_reply(call, found, key=lambda level: (level.sku,))

    async def level(call: Call) -> Reply:
        return Reply(200, await stock.level(call.path["sku"]))

    async def movements(call: Call) -> Reply:
        before = read_cursor(call.query.cursor, (int,))
        found = await stock.movements(
            before=before[0] if before else None,
            sku=call.query.sku,
            kind=call.query.kind,
            reference=call.query.reference,
            limit=call.query.limit + 1,
        )
        return page_reply(call, found, key=lambda movement: (movement.entry_no,), show=_view)

    async def receive(call: Call) -> Reply:
        body: ReceiveBody = call.body
        _check_text(body.cause, "/cause")
        movement = await stock.receive(
            call.path["sku"],
            body.quantity,
            cause=body.cause,
            reference=body.reference,
            actor=_actor(call),
            source=call.caller.account_id,
            token=call.idempotency_key or "",
        )
        return Reply(201, _view(movement))

    async def adjust(call: Call) -> Reply:
        body: AdjustBody = call.body
        _check_text(body.cause, "/cause")
        if body.quantity == 0:
            raise InvalidInput(fields=(FieldError("/quantity", "range", "not zero"),))
        movement = await stock.adjust(
            call.path["sku"],
            body.quantity,
            cause=body.cause,
            reference=body.reference,
            actor=_actor(call),
            source=call.caller.account_id,
            token=call.idempotency_key or "",
        )
        return Reply(201, _view(movement))

    missing = {404: ("sku_not_found",)}
    return [
        Endpoint(
            "GET",
            "/v1/admin/stock",
            levels,
            "Stock by SKU",
            "stock",
            roles=OPERATOR,
            query=PageQuery,
            replies={200: LevelPage},
        ),
        Endpoint(
            "GET",
            "/v1/admin/stock/movements",
            movements,
            "The ledger of stock, newest entry first",
            "stock",
            roles=OPERATOR,
            query=MovementsQuery,
            replies={200: MovementPage},
        ),
        Endpoint(
            "GET",
            "/v1/admin/stock/{sku}",
            level,
            "Stock of a product",
            "stock",
            roles=OPERATOR,
            replies={200: Level},
            problems=missing,
        ),
        Endpoint(
            "POST",
            "/v1/admin/stock/{sku}/receive",
            receive,
            "Receive units of a product",
            "stock",
            roles=OPERATOR,
            body=ReceiveBody,
            replies={201: MovementView},
            problems=missing,
            idempotent=True,
        ),
        Endpoint(
            "POST",
            "/v1/admin/stock/{sku}/adjust",
            adjust,
            "Correct the stock of a product by what a count found",
            "stock",
            roles=OPERATOR,
            body=AdjustBody,
            replies={201: MovementView},
            problems={**missing, 409: ("insufficient_stock",)},
            idempotent=True,
        ),
    ]


def _actor(call: Call) -> str:
    return f"{call.caller.role}:{call.caller.account_id}"


def _check_text(cause: str, pointer: str) -> None:
    """Causes that rooms write mean something: an operator cannot claim them."""
    if cause in set(Cause) - {Cause.DELIVERY}:
        raise InvalidInput(
            fields=(FieldError(pointer, "reserved", f"{cause} is written by flashorder alone"),)
        )


def _view(movement: Movement) -> MovementView:
    assert movement.occurred_at is not None
    return MovementView(
        movement_id=movement.movement_id,
        sku=movement.sku,
        kind=movement.kind,
        quantity=movement.quantity,
        cause=movement.cause,
        reference=movement.reference,
        actor=movement.actor,
        occurred_at=rfc3339(movement.occurred_at),
    )
