"""Orders over HTTP: the buyer's own, and the operators' desk."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web

from flashorder.infra.http.endpoint import ANY_ROLE, Call, Endpoint, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor
from flashorder.infra.http.preconditions import etag, expected_version
from flashorder.kernel.clock import check_sensible
from flashorder.kernel.errors import NotFound
from flashorder.orders.model import OrderStatus
from flashorder.orders.queries import OrderFilter, OrderQueries
from flashorder.orders.service import OrderService
from flashorder.orders.streams import OrderStreams
from flashorder.orders.views import OrderView, StaffOrderView

Handler = Callable[[Call], Awaitable[Reply]]
TAG = "orders"
OPERATOR = frozenset({Role.OPERATOR})
_NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=_NO_CONTROL)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=_NO_CONTROL)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class CancelBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why: one of the reasons that pages offer, or words of one's own."""

    reason: Reason


class AddressBody(msgspec.Struct, forbid_unknown_fields=True):
    """Where the order is to go instead."""

    address_id: uuid.UUID


class NoteBody(msgspec.Struct, forbid_unknown_fields=True):
    """Words for the staff."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]


class OwnOrdersQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """Filters of one's own orders."""

    status: OrderStatus | None = None
    kind: Word | None = None
    created_after: Moment | None = None


class OrderSearchQuery(OwnOrdersQuery, forbid_unknown_fields=True, kw_only=True):
    """Filters of the operators' search."""

    created_before: Moment | None = None
    sale_id: uuid.UUID | None = None
    sku: Word | None = None
    buyer_id: uuid.UUID | None = None
    order_number: Word | None = None


class OrderPage(msgspec.Struct):
    """A page of orders, newest first, without their timelines."""

    items: list[OrderView]
    next_cursor: str | None = None


class StaffOrderPage(msgspec.Struct):
    """A page of any buyers' orders."""

    items: list[StaffOrderView]
    next_cursor: str | None = None


class NoteReply(msgspec.Struct):
    """Where in the timeline the note stands."""

    order_id: str
    version: int


def endpoints(
    service: OrderService, queries: OrderQueries, streams: OrderStreams
) -> list[Endpoint]:
    """Every call about orders but those that place them."""
    return [
        *_own_endpoints(service, queries, _Own(queries, streams)),
        *_desk_endpoints(service, _Desk(service, queries)),
    ]


def _own_endpoints(service: OrderService, queries: OrderQueries, own: _Own) -> list[Endpoint]:
    missing = {404: ("order_not_found",)}
    stale = missing | {409: ("invalid_state",), 425: ("order_not_ready",)}

    def doing(act: Callable[..., Awaitable[None]], *words: Callable[[Call], Any]) -> Handler:
        return _doing(_explaining(act, queries), own.read, *words)

    return [
        Endpoint(
            "GET", "/v1/orders", own.listing, "List one's own orders", TAG,
            roles=ANY_ROLE, query=OwnOrdersQuery, replies={200: OrderPage},
        ),
        Endpoint(
            "GET", "/v1/orders/{order_id}", own.read, "Read one's order with its timeline", TAG,
            roles=ANY_ROLE, replies={200: OrderView}, headers=("ETag",), problems=missing,
            description="Answers from the moment of the 202 on; `accepted` until the row is there.",
        ),
        Endpoint(
            "GET", "/v1/orders/{order_id}/stream", own.stream, "Follow an order as it moves", TAG,
            roles=ANY_ROLE, replies={200: str, 204: None}, problems=missing,
            reply_content_type="text/event-stream",
            description="Server-sent events, `id` is the version. Resumes from `Last-Event-ID`; "
            "ends when the order is completed or cancelled; 204: there is nothing more to come.",
        ),
        Endpoint(
            "PATCH", "/v1/orders/{order_id}",
            doing(service.change_address, _address, expected_version),
            "Ship to another address", TAG,
            roles=ANY_ROLE, body=AddressBody, replies={200: OrderView}, headers=("ETag",),
            problems=stale
            | {404: ("order_not_found", "address_not_found"), 412: ("precondition_failed",)},
            description="Until the carrier is asked for the label; 409 from then on.",
        ),
        Endpoint(
            "POST", "/v1/orders/{order_id}/cancel",
            doing(service.cancel_own, _reason), "Cancel one's order", TAG,
            roles=ANY_ROLE, body=CancelBody, replies={200: OrderView}, headers=("ETag",),
            problems=stale, idempotent=True,
        ),
        Endpoint(
            "POST", "/v1/orders/{order_id}/confirm-receipt",
            doing(service.confirm_receipt), "Confirm that the goods have arrived", TAG,
            roles=ANY_ROLE, replies={200: OrderView}, headers=("ETag",), problems=stale,
        ),
    ]  # fmt: skip


def _desk_endpoints(service: OrderService, desk: _Desk) -> list[Endpoint]:
    missing = {404: ("order_not_found",)}
    stale = missing | {409: ("invalid_state",)}
    return [
        Endpoint(
            "GET", "/v1/admin/orders", desk.search, "Search orders", TAG,
            roles=OPERATOR, query=OrderSearchQuery, replies={200: StaffOrderPage},
        ),
        Endpoint(
            "GET", "/v1/admin/orders/{order_id}", desk.read, "Read any order", TAG,
            roles=OPERATOR, replies={200: StaffOrderView}, headers=("ETag",), problems=missing,
        ),
        Endpoint(
            "POST", "/v1/admin/orders/{order_id}/cancel",
            _doing(service.cancel, desk.read, _reason), "Cancel an order", TAG,
            roles=OPERATOR, body=CancelBody, replies={200: StaffOrderView}, headers=("ETag",),
            problems=stale, idempotent=True,
        ),
        Endpoint(
            "POST", "/v1/admin/orders/{order_id}/release-to-warehouse",
            _doing(service.release_to_warehouse, desk.read),
            "Release a paid order to the warehouse", TAG,
            roles=OPERATOR, replies={200: StaffOrderView}, headers=("ETag",), problems=stale,
        ),
        Endpoint(
            "POST", "/v1/admin/orders/{order_id}/complete",
            _doing(service.complete, desk.read), "Complete an order that has shipped", TAG,
            roles=OPERATOR, replies={200: StaffOrderView}, headers=("ETag",), problems=stale,
            description="For a buyer who has the goods and does not say so; without this call it "
            "completes some time after the delivery.",
        ),
        Endpoint(
            "POST", "/v1/admin/orders/{order_id}/notes", desk.note, "Write a note", TAG,
            roles=OPERATOR, body=NoteBody, replies={201: NoteReply}, problems=missing,
        ),
    ]  # fmt: skip


class _Own:
    """A buyer's calls that change nothing."""

    def __init__(self, queries: OrderQueries, streams: OrderStreams) -> None:
        self._queries = queries
        self._streams = streams

    async def listing(self, call: Call) -> Reply:
        return await _page(call, self._queries.list_own, buyer_id=call.caller.account_id)

    async def read(self, call: Call) -> Reply:
        return _shown(await self._queries.own(call.path_id("order_id"), call.caller.account_id))

    async def stream(self, call: Call) -> web.StreamResponse:
        return await self._streams.respond(
            call.request, call.path_id("order_id"), call.caller.account_id
        )


class _Desk:
    """The operators' calls that do not move an order."""

    def __init__(self, service: OrderService, queries: OrderQueries) -> None:
        self._service = service
        self._queries = queries

    async def search(self, call: Call) -> Reply:
        return await _page(call, self._queries.search)

    async def read(self, call: Call) -> Reply:
        return _shown(await self._queries.read_any(call.path_id("order_id")))

    async def note(self, call: Call) -> Reply:
        order_id = call.path_id("order_id")
        author = f"{call.caller.role}:{call.caller.account_id}"
        version = await self._service.add_note(order_id, author, call.body.text)
        return Reply(201, NoteReply(str(order_id), version))


def _doing(
    act: Callable[..., Awaitable[None]], read: Handler, *words: Callable[[Call], Any]
) -> Handler:
    """A call that does ``act(order id, caller's id, *words)`` and shows the order after it."""

    async def handler(call: Call) -> Reply:
        said = [word(call) for word in words]
        await act(call.path_id("order_id"), call.caller.account_id, *said)
        return await read(call)

    return handler


def _explaining(
    act: Callable[..., Awaitable[None]], queries: OrderQueries
) -> Callable[..., Awaitable[None]]:
    """``act`` of a buyer: what was accepted, or may have been lost, is not said to be nowhere."""

    async def explained(order_id: uuid.UUID, buyer_id: uuid.UUID, *words: Any) -> None:
        try:
            await act(order_id, buyer_id, *words)
        except NotFound as missing:
            if missing.code == "order_not_found":
                await queries.check_missing(order_id, buyer_id)
            raise

    return explained


async def _page(
    call: Call,
    find: Callable[[OrderFilter, int], Awaitable[Sequence[OrderView]]],
    **narrowed: uuid.UUID,
) -> Reply:
    """A page of what ``find`` finds by the query's filters and by ``narrowed``."""
    filters = msgspec.structs.asdict(call.query) | narrowed
    for name in ("created_after", "created_before"):
        check_sensible(filters.get(name), f"/{name}")
    limit, after = filters.pop("limit"), read_cursor(filters.pop("cursor"), (uuid.UUID,))
    wanted = OrderFilter(**filters, before_id=after[0] if after else None)
    return page_reply(call, await find(wanted, limit + 1), key=lambda order: (order.order_id,))


def _shown(order: OrderView) -> Reply:
    return Reply(200, order, etag(order.version))


def _reason(call: Call) -> str:
    body: CancelBody = call.body
    return body.reason


def _address(call: Call) -> uuid.UUID:
    body: AddressBody = call.body
    return body.address_id
