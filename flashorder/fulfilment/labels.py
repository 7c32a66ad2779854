"""Labels: asked for outside of any transaction, and taken back when nobody wants them.

Before a carrier is called the row says which one and with what (``request_label``), and until when
the caller may be at it (the lease). Whoever finds the lease over asks again under the same key and
gets the same label, so a death anywhere in between costs a few seconds and no second label.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import asyncpg
import msgspec
import structlog

from flashorder.fulfilment.carriers.port import CarrierRefused, Label, LabelCancellation
from flashorder.fulfilment.carriers.registry import Carriers
from flashorder.fulfilment.metrics import FulfilmentMetrics
from flashorder.fulfilment.model import SHIPMENT, Parcel, ShipmentStatus
from flashorder.fulfilment.rounds import call_each
from flashorder.fulfilment.store import SQL, Shipment, find_shipment, mark_shipped, shipment_of
from flashorder.infra.postgres.outbox import publish
from flashorder.infra.postgres.pool import Pool, database_failures, transaction
from flashorder.kernel.errors import (
    Conflict,
    FlashorderError,
    InvalidInput,
    InvalidState,
    ProviderUnavailable,
)
from flashorder.kernel.events import Event, Topic
from flashorder.settings import Settings

log = structlog.get_logger(__name__)

LEASE_MARGIN_SECONDS = 5.0
BACKOFF_SECONDS_MAX = 60.0
AUTOPILOT_REFUSALS_MAX = 20
UNANSWERED_ATTEMPTS_MIN = 5
UNKNOWN_UNIT_GRAMS = 500
SHIPPABLE = SHIPMENT.sources(ShipmentStatus.SHIPPED)


class LabelDesk:
    """Gets labels and with them the shipments out of the house."""

    def __init__(self, pool: Pool, carriers: Carriers, settings: Settings) -> None:
        self._pool = pool
        self._carriers = carriers
        self._lease_seconds = settings.provider_timeout_seconds + LEASE_MARGIN_SECONDS
        self._silence_seconds = settings.tracking_silence_seconds

    async def ship(
        self,
        shipment_id: uuid.UUID,
        carrier_name: str,
        parcels: Sequence[Parcel] | None,
        actor: str,
    ) -> Shipment:
        """Get a label and ship; the shipment with its tracking number and label.

        The shipment is its own idempotency key: said again with the same carrier, the answer is
        that of the first time.

        Raises ``InvalidState``, ``Conflict`` (``carrier_already_chosen``), ``CarrierRefused``, or
        ``ProviderUnavailable``: then the worker goes on asking.
        """
        self._carriers.chosen(carrier_name)
        shipment = await find_shipment(self._pool, shipment_id)
        with database_failures():
            row = await self._pool.fetchrow(
                SQL["request_label"],
                shipment_id,
                shipment.order_id,
                SHIPPABLE,
                carrier_name,
                None if parcels is None else msgspec.to_builtins(list(parcels)),
                self._lease_seconds,
                UNKNOWN_UNIT_GRAMS,
            )
        if row is not None:
            return await self._ask_and_ship(shipment_of(row), actor)
        shipment = await find_shipment(self._pool, shipment_id)
        if shipment.has_left and shipment.carrier == carrier_name:
            return shipment
        raise _why_not(shipment, carrier_name)

    async def request_for_packed(
        self, carrier_name: str, rest_seconds: float, shipments_max: int
    ) -> int:
        """Choose the carrier of packed shipments; ``ask_due`` does the rest. Returns how many."""
        with database_failures():
            rows = await self._pool.fetch(
                SQL["request_labels"],
                SHIPPABLE,
                carrier_name,
                rest_seconds,
                AUTOPILOT_REFUSALS_MAX,
                shipments_max,
                UNKNOWN_UNIT_GRAMS,
            )
        return len(rows)

    async def ask_due(self, shipments_max: int) -> int:
        """Ask for labels that nobody is asking for; returns how many have shipped by that."""
        with database_failures():
            rows = await self._pool.fetch(SQL["claim_labels"], self._lease_seconds, shipments_max)
        return await call_each([shipment_of(row) for row in rows], _carrier_of, self._try_to_ship)

    async def measure(self, metrics: FulfilmentMetrics) -> int:
        """Tell of packed shipments that no carrier takes; nothing follows at once: returns 0."""
        with database_failures():
            row = await self._pool.fetchrow(SQL["count_stuck"], UNANSWERED_ATTEMPTS_MIN)
        assert row is not None, "an aggregate always has a row"
        for why, shipments in row.items():
            metrics.stuck.labels(why).set(shipments)
        return 0

    async def take_back_due(self, shipments_max: int) -> int:
        """Cancel labels of cancelled shipments at their carriers; returns how many are settled."""
        with database_failures():
            rows = await self._pool.fetch(
                SQL["claim_label_cancellations"], self._lease_seconds, shipments_max
            )
        return await call_each(rows, lambda row: str(row["carrier"]), self._try_to_take_back)

    async def _try_to_ship(self, shipment: Shipment) -> bool:
        try:
            await self._ask_and_ship(shipment, "worker")
        except (Conflict, InvalidInput) as failure:
            # A refusal is written down in the row by now; the next round reads it there.
            log.info("label_not_had", shipment_id=str(shipment.shipment_id), reason=failure.detail)
            return False
        return True

    async def _try_to_take_back(self, claim: asyncpg.Record) -> bool:
        shipment_id = claim["shipment_id"]
        try:
            outcome = await self._carriers.chosen(claim["carrier"]).cancel_label(shipment_id)
        except (Conflict, InvalidInput) as failure:
            # The claim's lease is the pause before the next try.
            log.warning("label_not_taken_back", shipment_id=str(shipment_id), reason=failure.detail)
            return False
        if outcome is LabelCancellation.TOO_LATE:
            log.warning("cancelled_parcel_is_on_its_way", shipment_id=str(shipment_id))
        with database_failures():
            await self._pool.execute(SQL["label_cancelled"], shipment_id, str(outcome))
        return True

    async def _ask_and_ship(self, shipment: Shipment, actor: str) -> Shipment:
        carrier_name = _carrier_of(shipment)
        try:
            carrier = self._carriers.chosen(carrier_name)
            label = await carrier.create_label(shipment.consignment)
        except CarrierRefused as refusal:
            with database_failures():
                await self._pool.execute(
                    SQL["drop_label_request"],
                    shipment.shipment_id,
                    carrier_name,
                    refusal.detail,
                )
            raise
        except ProviderUnavailable:
            pause_seconds = min(BACKOFF_SECONDS_MAX, 0.5 * 2 ** min(shipment.label_attempts, 10))
            with database_failures():
                await self._pool.execute(SQL["postpone_label"], shipment.shipment_id, pause_seconds)
            raise
        return await self._finish(shipment, label, actor)

    async def _finish(self, shipment: Shipment, label: Label, actor: str) -> Shipment:
        """The parcel leaves, unless the order was cancelled while the carrier was asked."""
        async with transaction(self._pool) as connection:
            shipped = await mark_shipped(
                connection,
                shipment,
                label,
                sources=SHIPPABLE,
                actor=actor,
                silence_seconds=self._silence_seconds,
            )
            if shipped:
                await publish(connection, [_shipped_event(shipment, label)])
            else:
                await connection.execute(
                    SQL["unwanted_label"],
                    shipment.shipment_id,
                    shipment.carrier,
                    label.tracking_number,
                    label.reference,
                    label.url,
                )
        found = await find_shipment(self._pool, shipment.shipment_id)
        if found.has_left and found.tracking_number == label.tracking_number:
            return found  # by us, or by somebody who asked for the same label at the same time
        raise InvalidState(f"the shipment is {found.status}, and its order awaits none")


def _why_not(shipment: Shipment, carrier_name: str) -> FlashorderError:
    """Why no label may be asked for."""
    if not SHIPMENT.permits(shipment.status, ShipmentStatus.SHIPPED):
        return InvalidState(f"a shipment that is {shipment.status} cannot become shipped")
    if shipment.carrier not in (None, carrier_name):
        return Conflict(
            f"{shipment.carrier} was asked for a label already", code="carrier_already_chosen"
        )
    return InvalidState("the order does not await a shipment")


def _shipped_event(shipment: Shipment, label: Label) -> Event:
    payload = {
        "order_id": str(shipment.order_id),
        "shipment_id": str(shipment.shipment_id),
        "carrier": shipment.carrier,
        "tracking_number": label.tracking_number,
    }
    return Event(Topic.SHIPMENT_SHIPPED, shipment.order_id, payload)


def _carrier_of(shipment: Shipment) -> str:
    assert shipment.carrier is not None, "a label was requested without a carrier"
    return shipment.carrier
