"""Units leave the house: what is on hand falls when a parcel goes, once a parcel."""

from __future__ import annotations

import uuid

from flashorder.infra.postgres.pool import Pool, transaction
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory import ledger
from flashorder.inventory.model import Cause, Movement, MovementKind, movement_id_of
from flashorder.kernel.events import Event

_SQL = load_sql("flashorder.inventory")
ACTOR = "warehouse"


class Departures:
    """Writes parcels into the ledger of stock."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def shipment_shipped(self, event: Event) -> None:
        """Handle SHIPMENT_SHIPPED: its lines as movements whose ids are the parcel's.

        ``Conflict`` ``insufficient_stock`` when more left than was there, which is for a person:
        the event waits, and goes through once the stock was counted.
        """
        shipment_id = uuid.UUID(event.payload["shipment_id"])
        async with transaction(self._pool) as connection:
            rows = await connection.fetch(_SQL["units_of_shipment"], shipment_id)
            await ledger.record(
                connection,
                [
                    Movement(
                        movement_id_of(shipment_id, MovementKind.SHIPPED, row["sku"]),
                        row["sku"],
                        MovementKind.SHIPPED,
                        -row["quantity"],
                        Cause.PARCEL_LEFT,
                        ACTOR,
                        str(shipment_id),
                    )
                    for row in rows
                ],
            )
