"""Shipping: one label a shipment, whatever dies in between, and never for a cancelled order."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from flashorder.fulfilment.carriers.port import Consignment, Label
from flashorder.fulfilment.carriers.registry import Carriers
from flashorder.fulfilment.carriers.simulator import SimulatedCarrier
from flashorder.fulfilment.labels import AUTOPILOT_REFUSALS_MAX
from flashorder.fulfilment.metrics import FulfilmentMetrics
from flashorder.fulfilment.model import Parcel
from flashorder.fulfilment.service import FulfilmentService
from flashorder.kernel.errors import Conflict, InvalidInput, InvalidState, ProviderUnavailable
from flashorder.kernel.events import Topic
from flashorder.orders.service import OrderService
from tests.fulfilment.conftest import ADDRESS, House, SimulatorClient


@dataclass
class Gate:
    """Stops a call to the carrier at a place, so that a test can act in between."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


class GatedCarrier(SimulatedCarrier):
    """The simulated carrier, with a gate behind the answer to ``create_label``."""

    gate: Gate

    async def create_label(self, consignment: Consignment) -> Label:
        label = await super().create_label(consignment)
        await self.gate.pass_through()
        return label


def gated(house: House) -> tuple[House, Gate]:
    """The same house, whose carrier answers only when the gate opens."""
    carrier = GatedCarrier.of(house.settings)
    assert isinstance(carrier, GatedCarrier)
    carrier.gate = Gate()
    carriers = Carriers([carrier])
    service = FulfilmentService(house.pool, carriers, house.settings)
    return replace(house, service=service, carriers=carriers), carrier.gate


async def overdue(house: House, column: str) -> None:
    """Let the lease of whoever held it be over."""
    await house.pool.execute(
        f"UPDATE shipments SET {column} = now() - interval '1 second' WHERE {column} IS NOT NULL"
    )


async def test_shipping_gets_a_label_and_tells_the_others(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    shipped = await house.service.labels.ship(shipment_id, "simulator", None, "warehouse:1")
    row = await house.row(shipment_id)
    assert (row["status"], row["carrier"]) == ("shipped", "simulator")
    assert row["tracking_number"] == shipped.tracking_number
    assert row["ship_to"] == ADDRESS
    assert row["parcels"] == [{"weight_grams": 2 * 300 + 500}]
    assert await house.told(Topic.SHIPMENT_SHIPPED) == [
        {
            "order_id": str(row["order_id"]),
            "shipment_id": str(shipment_id),
            "carrier": "simulator",
            "tracking_number": shipped.tracking_number,
        }
    ]
    document = await house.service.label_document(shipment_id)
    assert document.content_type == "application/pdf"
    assert document.content.startswith(b"%PDF-")
    assert shipped.tracking_number.encode() in document.content
    await house.check_invariants()


async def test_shipping_again_answers_the_same(house: House, simulator: SimulatorClient) -> None:
    shipment_id = await house.shipment("packed")
    answers = await asyncio.gather(
        *(house.service.labels.ship(shipment_id, "simulator", None, "test") for _ in range(4))
    )
    answers.append(await house.service.labels.ship(shipment_id, "simulator", None, "test"))
    assert len({(each.tracking_number, each.label_url) for each in answers}) == 1
    assert (await simulator.ledger())["totals"]["labels"] == 1
    assert len(await house.told(Topic.SHIPMENT_SHIPPED)) == 1


async def test_only_what_is_packed_ships(house: House, simulator: SimulatorClient) -> None:
    for status in ("pending", "picking"):
        shipment_id = await house.shipment(status)
        with pytest.raises(InvalidState):
            await house.service.labels.ship(shipment_id, "simulator", None, "test")
    assert (await simulator.ledger())["labels"] == []


async def test_a_carrier_that_there_is_not_is_refused_by_name(house: House) -> None:
    shipment_id = await house.shipment("packed")
    with pytest.raises(InvalidInput) as refusal:
        await house.service.labels.ship(shipment_id, "pigeon", None, "test")
    assert (refusal.value.code, refusal.value.fields[0].pointer) == ("carrier_unknown", "/carrier")


async def test_a_refusal_opens_the_choice_again(house: House, simulator: SimulatorClient) -> None:
    shipment_id = await house.shipment("packed")
    too_heavy = [Parcel(weight_grams=900_000)]
    with pytest.raises(Conflict) as refusal:
        await house.service.labels.ship(shipment_id, "simulator", too_heavy, "test")
    assert refusal.value.code == "carrier_refused"
    row = await house.row(shipment_id)
    assert (row["status"], row["carrier"], row["label_due_at"]) == ("packed", None, None)
    detail = await house.service.detail(shipment_id)
    assert detail.events[-1].type == "label_refused"
    await house.service.labels.ship(shipment_id, "simulator", [Parcel(1_000)], "test")
    await house.check_invariants()


async def test_a_carrier_that_is_away_is_asked_again(house: House) -> None:
    shipment_id = await house.shipment("packed")
    with pytest.raises(ProviderUnavailable):
        await house.service.labels.ship(shipment_id, "simulator", None, "test")
    assert await house.service.labels.ask_due(10) == 0, "it is not due yet"
    row = await house.row(shipment_id)
    assert (row["status"], row["label_attempts"]) == ("packed", 1)
    assert row["label_due_at"] is not None


async def stuck(house: House) -> dict[str, float]:
    """What is told of packed shipments that no carrier takes."""
    metrics = FulfilmentMetrics(CollectorRegistry())
    assert await house.service.labels.measure(metrics) == 0
    (family,) = metrics.stuck.collect()
    return {sample.labels["why"]: sample.value for sample in family.samples}


async def test_an_outage_is_seen_and_does_not_use_up_the_tries_of_the_autopilot(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    await simulator.control(pace_ms=3_600_000, fail_rate=1.0)
    assert await house.service.labels.request_for_packed("simulator", 0.0, 10) == 1
    for _ in range(AUTOPILOT_REFUSALS_MAX + 1):
        await overdue(house, "label_due_at")
        assert await house.service.labels.ask_due(10) == 0
    assert await stuck(house) == {"refused": 0, "unanswered": 1}
    await house.pool.execute("UPDATE shipments SET parcels = '[{\"weight_grams\": 900000}]'")
    await simulator.control(pace_ms=3_600_000)
    await overdue(house, "label_due_at")
    assert await house.service.labels.ask_due(10) == 0
    assert await stuck(house) == {"refused": 1, "unanswered": 0}
    assert await house.service.labels.request_for_packed("simulator", 0.0, 10) == 1
    assert await house.service.labels.ask_due(10) == 1
    assert (await house.row(shipment_id))["status"] == "shipped"
    assert await stuck(house) == {"refused": 0, "unanswered": 0}


async def test_the_autopilot_gives_up_after_many_refusals_and_is_seen(house: House) -> None:
    await house.shipment("packed")
    await house.pool.execute("UPDATE shipments SET label_refusals = $1", AUTOPILOT_REFUSALS_MAX)
    assert await house.service.labels.request_for_packed("simulator", 0.0, 10) == 0
    assert await stuck(house) == {"refused": 1, "unanswered": 0}


async def test_a_death_after_the_label_costs_no_second_label(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    doomed, gate = gated(house)
    asking = asyncio.create_task(
        doomed.service.labels.ship(shipment_id, "simulator", None, "doomed")
    )
    await gate.reached.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await doomed.carriers.close()
    assert (await house.row(shipment_id))["status"] == "packed"
    assert await house.service.labels.ask_due(10) == 0, "the lease of the dead still runs"
    await overdue(house, "label_due_at")
    assert await house.service.labels.ask_due(10) == 1
    label = await simulator.label_of(shipment_id)
    assert label is not None
    row = await house.row(shipment_id)
    assert (row["status"], row["tracking_number"]) == ("shipped", label["tracking_number"])
    assert (await simulator.ledger())["totals"]["labels"] == 1


async def test_failures_before_and_after_the_deed_leave_one_label_a_shipment(
    house: House, simulator: SimulatorClient
) -> None:
    for _ in range(6):
        await house.shipment("packed")
    await simulator.control(pace_ms=3_600_000, fail_rate=0.6)
    assert await house.service.labels.request_for_packed("simulator", 0.0, 10) == 6
    for _ in range(40):
        await overdue(house, "label_due_at")
        await house.service.labels.ask_due(10)
    statuses = await house.pool.fetch("SELECT DISTINCT status FROM shipments")
    assert [row["status"] for row in statuses] == ["shipped"]
    assert (await simulator.ledger())["totals"]["labels"] == 6
    assert len(await house.told(Topic.SHIPMENT_SHIPPED)) == 6


async def test_two_workers_share_the_labels(house: House, simulator: SimulatorClient) -> None:
    for _ in range(12):
        await house.shipment("packed")
    await asyncio.gather(
        *(house.service.labels.request_for_packed("simulator", 0.0, 12) for _ in range(3))
    )
    done = await asyncio.gather(*(house.service.labels.ask_due(6) for _ in range(4)))
    assert sum(done) == 12
    assert len(await house.told(Topic.SHIPMENT_SHIPPED)) == 12


async def test_an_order_cancelled_while_the_carrier_answers_ships_nothing(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    order_id = (await house.row(shipment_id))["order_id"]
    slow, gate = gated(house)
    asking = asyncio.create_task(slow.service.labels.ship(shipment_id, "simulator", None, "test"))
    await gate.reached.wait()
    await house.cancel_order(order_id)
    await house.cancelled(order_id)
    assert await house.service.labels.take_back_due(10) == 0, "somebody may still be asking"
    gate.opened.set()
    with pytest.raises(InvalidState):
        await asking
    await slow.carriers.close()
    assert await house.service.labels.take_back_due(10) == 1
    label = await simulator.label_of(shipment_id)
    assert label is not None
    assert label["status"] == "cancelled"
    row = await house.row(shipment_id)
    assert (row["status"], row["tracking_number"]) == ("cancelled", label["tracking_number"])
    assert await house.told(Topic.SHIPMENT_SHIPPED) == []
    await house.check_invariants()


async def test_a_cancellation_not_heard_of_yet_keeps_the_parcel_in_the_house(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    order_id = (await house.row(shipment_id))["order_id"]
    slow, gate = gated(house)
    asking = asyncio.create_task(slow.service.labels.ship(shipment_id, "simulator", None, "test"))
    await gate.reached.wait()
    await OrderService(house.pool).cancel(order_id, uuid.uuid4(), "changed_mind")
    gate.opened.set()
    with pytest.raises(InvalidState):
        await asking
    await slow.carriers.close()
    assert (await house.row(shipment_id))["status"] == "packed"
    await overdue(house, "label_due_at")
    assert await house.service.labels.ask_due(10) == 0
    await house.cancelled(order_id)
    await overdue(house, "label_cancel_due_at")
    assert await house.service.labels.take_back_due(10) == 1
    label = await simulator.label_of(shipment_id)
    assert label is not None
    assert label["status"] == "cancelled"
    await house.check_invariants()


async def test_a_label_whose_asker_died_is_taken_back_with_the_order(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    order_id = (await house.row(shipment_id))["order_id"]
    doomed, gate = gated(house)
    asking = asyncio.create_task(
        doomed.service.labels.ship(shipment_id, "simulator", None, "doomed")
    )
    await gate.reached.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await doomed.carriers.close()
    await house.cancel_order(order_id)
    await house.cancelled(order_id)
    await overdue(house, "label_cancel_due_at")
    assert await house.service.labels.take_back_due(10) == 1
    label = await simulator.label_of(shipment_id)
    assert label is not None
    assert label["status"] == "cancelled"
    detail = await house.service.detail(shipment_id)
    assert (detail.events[-1].type, detail.events[-1].data) == (
        "label_cancelled",
        {"outcome": "cancelled"},
    )
    assert await house.service.labels.take_back_due(10) == 0


async def test_the_address_stays_while_the_carrier_answers(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    order_id = (await house.row(shipment_id))["order_id"]
    buyer_id = await house.pool.fetchval("SELECT buyer_id FROM orders")
    slow, gate = gated(house)
    asking = asyncio.create_task(slow.service.labels.ship(shipment_id, "simulator", None, "test"))
    await gate.reached.wait()
    with pytest.raises(InvalidState):
        await OrderService(house.pool).change_address(order_id, buyer_id, uuid.uuid4())
    gate.opened.set()
    await asking
    await slow.carriers.close()
    await house.check_invariants()


async def test_a_label_that_waited_for_a_new_address_names_it(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    moved = {**ADDRESS, "line1": "Somewhere else"}
    async with house.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE orders SET ship_to = $1", moved)
        asking = asyncio.create_task(
            house.service.labels.ship(shipment_id, "simulator", None, "test")
        )
        await blocked(house)
        await transaction.commit()
    assert (await asking).ship_to == moved
    await house.check_invariants()


async def test_another_carrier_is_refused_while_one_is_asked(house: House) -> None:
    carrier = SimulatedCarrier.of(house.settings)
    carrier.name = "other"
    carriers = Carriers([SimulatedCarrier.of(house.settings), carrier])
    service = FulfilmentService(house.pool, carriers, house.settings)
    shipment_id = await house.shipment("packed")
    with pytest.raises(ProviderUnavailable):
        await service.labels.ship(shipment_id, "simulator", None, "test")
    with pytest.raises(Conflict) as refusal:
        await service.labels.ship(shipment_id, "other", None, "test")
    assert refusal.value.code == "carrier_already_chosen"
    await carriers.close()


async def test_of_ship_and_cancel_exactly_one_wins(
    house: House, simulator: SimulatorClient
) -> None:
    orders = OrderService(house.pool)
    outcomes = set()
    for turn in range(12):
        shipment_id = await house.shipment("packed")
        order_id = (await house.row(shipment_id))["order_id"]

        async def cancel(order_id: uuid.UUID = order_id, late: bool = turn % 3 == 0) -> None:
            if late:
                await asyncio.sleep(0.01)  # let the label be asked for first, now and then
            await orders.cancel(order_id, uuid.uuid4(), "changed_mind")

        results: list[Any] = await asyncio.gather(
            house.service.labels.ship(shipment_id, "simulator", None, "test"),
            cancel(),
            return_exceptions=True,
        )
        refused = [isinstance(each, InvalidState) for each in results]
        assert refused.count(True) == 1, results
        outcomes.add(refused.index(True))
        status = await house.pool.fetchval(
            "SELECT status FROM orders WHERE order_id = $1", order_id
        )
        assert (status == "cancelled") == (refused[0])
    await house.check_invariants()
    assert outcomes, "both orders of events are possible, one at least was seen"


async def test_a_cancellation_that_waited_for_the_shipping_sees_it(house: House) -> None:
    """The ship transaction holds the order's row; the cancellation waits, and then refuses."""
    shipment_id = await house.shipment("packed")
    row = await house.row(shipment_id)
    orders = OrderService(house.pool)
    await house.pool.execute("UPDATE shipments SET carrier = 'simulator'")
    async with house.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        from flashorder.fulfilment.labels import SHIPPABLE
        from flashorder.fulfilment.store import mark_shipped, shipment_of

        record = await connection.fetchrow(
            "SELECT * FROM shipments WHERE shipment_id = $1", shipment_id
        )
        assert record is not None
        assert await mark_shipped(
            connection,
            shipment_of(record),
            Label("lbl", "SIM1", "http://127.0.0.1/l.pdf"),
            sources=SHIPPABLE,
            actor="test",
            silence_seconds=30.0,
        )
        cancelling = asyncio.create_task(
            orders.cancel(row["order_id"], uuid.uuid4(), "changed_mind")
        )
        await blocked(house)
        await transaction.commit()
    with pytest.raises(InvalidState):
        await cancelling
    await house.check_invariants()


async def blocked(house: House) -> None:
    """Until somebody waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(5):
        while not await house.pool.fetchval(waiting):
            await asyncio.sleep(0.01)
