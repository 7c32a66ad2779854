"""The shipment machine in PostgreSQL against a model of it, in any order of events."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flashorder.fulfilment.carriers.port import Label
from flashorder.fulfilment.carriers.registry import Carriers
from flashorder.fulfilment.labels import SHIPPABLE
from flashorder.fulfilment.model import PROGRESS, ShipmentStatus, TrackingStatus
from flashorder.fulfilment.service import FulfilmentService
from flashorder.fulfilment.store import find_shipment, mark_shipped
from flashorder.infra.postgres.pool import connect_postgres, transaction
from flashorder.kernel.errors import InvalidState
from flashorder.settings import Settings
from tests.fulfilment.conftest import House


@dataclass
class Expected:
    """What a shipment should be."""

    order_id: uuid.UUID
    number: str
    status: ShipmentStatus = ShipmentStatus.PENDING
    tracking: TrackingStatus | None = None
    order_cancelled: bool = False
    kept: list[TrackingStatus] = field(default_factory=list)


class Warehouse(RuleBasedStateMachine):
    """Steps, cancellations and news of carriers, interleaved."""

    database_url = ""
    shipments = Bundle("shipments")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.pool = self.runner.run(connect_postgres(self.database_url, connections_max=2))
        self.model: dict[uuid.UUID, Expected] = {}
        config = Settings(secret="test")  # type: ignore[arg-type]
        carriers = Carriers([])
        self.house = House(
            self.pool, FulfilmentService(self.pool, carriers, config), carriers, config
        )

    def teardown(self) -> None:
        self.runner.run(self.pool.close())
        self.runner.close()

    def attempt(self, step: Any) -> bool:
        try:
            self.runner.run(step)
        except InvalidState:
            return False
        return True

    @precondition(lambda self: len(self.model) < 2)
    @rule(
        target=shipments,
        status=st.sampled_from(
            [ShipmentStatus.PACKED, ShipmentStatus.PICKING, ShipmentStatus.PENDING]
        ),
    )
    def begin(self, status: ShipmentStatus) -> uuid.UUID:
        shipment_id = self.runner.run(self.house.shipment(status))
        order_id = self.runner.run(self.house.row(shipment_id))["order_id"]
        self.model[shipment_id] = Expected(order_id, f"N{shipment_id.hex}", status)
        return shipment_id

    @rule(shipment_id=shipments)
    def pick(self, shipment_id: uuid.UUID) -> None:
        mine = self.model[shipment_id]
        allowed = mine.status in (ShipmentStatus.PENDING, ShipmentStatus.PICKING)
        assert self.attempt(self.house.service.pick(shipment_id, "test")) == allowed
        if allowed:
            mine.status = ShipmentStatus.PICKING

    @rule(shipment_id=shipments)
    def pack(self, shipment_id: uuid.UUID) -> None:
        mine = self.model[shipment_id]
        allowed = mine.status in (ShipmentStatus.PICKING, ShipmentStatus.PACKED)
        assert self.attempt(self.house.service.pack(shipment_id, "test")) == allowed
        if allowed:
            mine.status = ShipmentStatus.PACKED

    @rule(shipment_id=shipments)
    def ship(self, shipment_id: uuid.UUID) -> None:
        mine = self.model[shipment_id]

        async def ship() -> bool:
            # The answer of the carrier may come whether or not the order still awaits it.
            await self.pool.execute("UPDATE shipments SET carrier = 'simulator'")
            label = Label("lbl", mine.number, "http://127.0.0.1/l.pdf")
            async with transaction(self.pool) as connection:
                shipment = await find_shipment(self.pool, shipment_id)
                return await mark_shipped(
                    connection, shipment, label,
                    sources=SHIPPABLE, actor="test", silence_seconds=30.0,
                )  # fmt: skip

        allowed = mine.status is ShipmentStatus.PACKED and not mine.order_cancelled
        assert self.runner.run(ship()) == allowed
        if allowed:
            mine.status = ShipmentStatus.SHIPPED

    @rule(shipment_id=shipments)
    def deliver_by_hand(self, shipment_id: uuid.UUID) -> None:
        mine = self.model[shipment_id]
        allowed = mine.status in (ShipmentStatus.SHIPPED, ShipmentStatus.DELIVERED)
        assert self.attempt(self.house.service.deliver(shipment_id, "test")) == allowed
        if allowed:
            mine.status, mine.tracking = ShipmentStatus.DELIVERED, PROGRESS[-1]

    @rule(shipment_id=shipments)
    def cancel_the_order(self, shipment_id: uuid.UUID) -> None:
        mine = self.model[shipment_id]
        if mine.status in (ShipmentStatus.SHIPPED, ShipmentStatus.DELIVERED):
            return  # the orders' room refuses that
        self.runner.run(self.house.cancel_order(mine.order_id))
        mine.order_cancelled = True

    @rule(shipment_id=shipments)
    def hear_of_the_cancellation(self, shipment_id: uuid.UUID) -> None:
        mine = self.model[shipment_id]
        self.runner.run(self.house.cancelled(mine.order_id))
        if mine.order_cancelled:
            mine.status = ShipmentStatus.CANCELLED

    @rule(shipment_id=shipments, status=st.sampled_from(TrackingStatus))
    def the_carrier_says(self, shipment_id: uuid.UUID, status: TrackingStatus) -> None:
        mine = self.model[shipment_id]

        async def hear() -> None:
            await self.pool.execute(
                "INSERT INTO carrier_webhooks (carrier, event_id, tracking_number,"
                " tracking_status, occurred_at) VALUES ('simulator', $1, $2, $3, now())",
                uuid.uuid4().hex, mine.number, status,
            )  # fmt: skip

        self.runner.run(hear())
        mine.kept.append(status)

    @rule()
    def apply_what_was_kept(self) -> None:
        self.runner.run(self.house.service.tracking.apply_kept(100))
        for mine in self.model.values():
            if mine.status not in (ShipmentStatus.SHIPPED, ShipmentStatus.DELIVERED):
                continue
            told = [status for status in PROGRESS if status in {*mine.kept, mine.tracking}]
            mine.tracking = told[-1] if told else None
            mine.kept.clear()
            if mine.tracking is PROGRESS[-1]:
                mine.status = ShipmentStatus.DELIVERED

    @invariant()
    def the_rows_are_the_model(self) -> None:
        for shipment_id, mine in self.model.items():
            row = self.runner.run(self.house.row(shipment_id))
            assert (row["status"], row["tracking_status"]) == (mine.status, mine.tracking)
        self.runner.run(self.house.check_invariants())


def test_the_rows_follow_the_machine(database_url: str) -> None:
    Warehouse.database_url = database_url
    run_state_machine_as_test(
        Warehouse,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
