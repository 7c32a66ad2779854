"""The warehouse's desk and the carriers' door, over HTTP."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec

from flashorder.fulfilment.model import Parcel, ShipmentStatus
from flashorder.fulfilment.service import FulfilmentService, ShipmentFilter
from flashorder.fulfilment.views import ShipmentDetailView, ShipmentView, ShippedView
from flashorder.infra.http.endpoint import Call, Endpoint, Reply, Role
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor

TAG = "shipments"
WAREHOUSE = frozenset({Role.WAREHOUSE, Role.OPERATOR})
PARCELS_MAX = 50
_NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=_NO_CONTROL)]
Millimetres = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class ParcelBody(msgspec.Struct, forbid_unknown_fields=True):
    """One box; a length that is left out was not measured."""

    weight_grams: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    length_mm: Millimetres = 0
    width_mm: Millimetres = 0
    height_mm: Millimetres = 0


class ShipBody(msgspec.Struct, forbid_unknown_fields=True):
    """Who carries it; without ``parcels`` it is one box as heavy as the goods."""

    carrier: Annotated[
        Word,
        msgspec.Meta(
            description="Name of a carrier of this deployment; it ships with `simulator`. The "
            "refusal of an unknown one names those there are.",
            examples=["simulator"],
        ),
    ]
    parcels: (
        Annotated[list[ParcelBody], msgspec.Meta(min_length=1, max_length=PARCELS_MAX)] | None
    ) = None


class ShipmentsQuery(PageQuery, forbid_unknown_fields=True, kw_only=True):
    """Filters of the list."""

    status: ShipmentStatus | None = None
    order_id: uuid.UUID | None = None
    carrier: Word | None = None
    tracking_number: Word | None = None


class ShipmentPage(msgspec.Struct):
    """A page of shipments, newest first."""

    items: list[ShipmentView]
    next_cursor: str | None = None


class Received(msgspec.Struct):
    """The carrier may forget this webhook."""

    status: str = "received"


class FulfilmentRoutes:
    """Translates between HTTP and the service."""

    def __init__(self, service: FulfilmentService) -> None:
        self._service = service

    async def listing(self, call: Call) -> Reply:
        """``GET /v1/admin/shipments``."""
        query = call.query
        after = read_cursor(query.cursor, (uuid.UUID,))
        narrowed = ShipmentFilter(
            query.status, query.order_id, query.carrier, query.tracking_number
        )
        items = await self._service.page(narrowed, after[0] if after else None, query.limit + 1)
        return page_reply(call, items, key=lambda item: (item.shipment_id,))

    async def detail(self, call: Call) -> Reply:
        """``GET /v1/admin/shipments/{shipment_id}``."""
        return Reply(200, await self._service.detail(call.path_id("shipment_id")))

    async def label(self, call: Call) -> Reply:
        """``GET /v1/admin/shipments/{shipment_id}/label``."""
        document = await self._service.label_document(call.path_id("shipment_id"))
        return Reply(200, document.content, {"Content-Type": document.content_type})

    async def pick(self, call: Call) -> Reply:
        """``POST …/pick``."""
        view = await self._service.pick(call.path_id("shipment_id"), _actor(call))
        return Reply(200, view)

    async def pack(self, call: Call) -> Reply:
        """``POST …/pack``."""
        view = await self._service.pack(call.path_id("shipment_id"), _actor(call))
        return Reply(200, view)

    async def deliver(self, call: Call) -> Reply:
        """``POST …/deliver``."""
        view = await self._service.deliver(call.path_id("shipment_id"), _actor(call))
        return Reply(200, view)

    async def ship(self, call: Call) -> Reply:
        """``POST …/ship``."""
        body: ShipBody = call.body
        parcels = None
        if body.parcels is not None:
            parcels = [Parcel(**msgspec.to_builtins(parcel)) for parcel in body.parcels]
        shipment = await self._service.labels.ship(
            call.path_id("shipment_id"), body.carrier, parcels, _actor(call)
        )
        assert shipment.tracking_number is not None
        assert shipment.label_url is not None
        return Reply(
            200, ShippedView(shipment.shipment_id, shipment.tracking_number, shipment.label_url)
        )

    async def webhook(self, call: Call) -> Reply:
        """``POST /v1/webhooks/carriers/{carrier}``."""
        await self._service.tracking.receive(call.path["carrier"], call.request.headers, call.body)
        return Reply(200, Received())


def endpoints(service: FulfilmentService) -> list[Endpoint]:
    """The calls of this room."""
    routes = FulfilmentRoutes(service)
    one = "/v1/admin/shipments/{shipment_id}"
    return [
        Endpoint(
            "GET",
            "/v1/admin/shipments",
            routes.listing,
            "List shipments, newest first",
            TAG,
            WAREHOUSE,
            query=ShipmentsQuery,
            replies={200: ShipmentPage},
        ),
        Endpoint(
            "GET",
            one,
            routes.detail,
            "Read a shipment with its lines, timeline and tracking",
            TAG,
            WAREHOUSE,
            replies={200: ShipmentDetailView},
            problems={404: ("shipment_not_found",)},
        ),
        Endpoint(
            "GET",
            f"{one}/label",
            routes.label,
            "Read the label to print",
            TAG,
            WAREHOUSE,
            replies={200: bytes},
            problems={
                404: ("shipment_not_found", "label_not_found"),
                409: ("carrier_refused",),
                503: ("provider_unavailable",),
            },
            reply_content_type="application/pdf",
        ),
        *(
            Endpoint(
                "POST",
                f"{one}/{verb}",
                handler,
                summary,
                TAG,
                WAREHOUSE,
                replies={200: ShipmentView},
                problems={404: ("shipment_not_found",), 409: ("invalid_state",)},
            )
            for verb, handler, summary in (
                ("pick", routes.pick, "Begin to pick a shipment"),
                ("pack", routes.pack, "Say that a shipment is packed"),
                ("deliver", routes.deliver, "Say that a parcel arrived, where no carrier tells"),
            )
        ),
        Endpoint(
            "POST",
            f"{one}/ship",
            routes.ship,
            "Get a label and hand the shipment to the carrier",
            TAG,
            WAREHOUSE,
            body=ShipBody,
            replies={200: ShippedView},
            problems={
                404: ("shipment_not_found",),
                409: ("invalid_state", "carrier_already_chosen", "carrier_refused"),
                422: ("carrier_unknown",),
                503: ("provider_unavailable",),
            },
        ),
        Endpoint(
            "POST",
            "/v1/webhooks/carriers/{carrier}",
            routes.webhook,
            "Receive a tracking event of a carrier",
            "webhooks",
            replies={200: Received},
            problems={
                400: ("malformed_request",),
                401: ("signature_invalid",),
                404: ("carrier_not_found",),
            },
            raw_body=True,
            content_type="*/*",
        ),
    ]


def _actor(call: Call) -> str:
    return f"{call.caller.role}:{call.caller.account_id}"
