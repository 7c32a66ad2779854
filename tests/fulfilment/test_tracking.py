"""What carriers say: early, twice, out of turn, forged, or not at all."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

from flashorder.fulfilment.carriers.registry import Carriers
from flashorder.fulfilment.carriers.simulator import SimulatedCarrier
from flashorder.fulfilment.model import PROGRESS, TrackingEvent, TrackingStatus
from flashorder.fulfilment.rounds import CALLS_AT_ONCE_MAX
from flashorder.fulfilment.service import FulfilmentService
from flashorder.kernel.clock import utc_now
from flashorder.kernel.errors import InvalidState, MalformedRequest, NotFound, Unauthenticated
from flashorder.kernel.events import Topic
from tests.fulfilment.conftest import House, SimulatorClient, eventually

BEGIN = datetime(2026, 1, 2, tzinfo=UTC)


def sent(
    house: House,
    number: str,
    status: TrackingStatus,
    *,
    event_id: str | None = None,
    signed_at: datetime | None = None,
    step: int | None = None,
) -> tuple[dict[str, str], bytes]:
    """A webhook as the carrier sends it."""
    event_id = event_id or f"evt_{uuid.uuid4().hex}"
    order = list(TrackingStatus).index(status) if step is None else step
    moment = BEGIN + timedelta(hours=order)
    body = msgspec.json.encode(
        {
            "type": "tracking.updated",
            "data": {
                "event_id": event_id,
                "tracking_number": number,
                "status": status,
                "occurred_at_ms": int(moment.timestamp() * 1000),
                "detail": f"it is {status}",
                "location": "Depot",
            },
        }
    )
    signed_at = signed_at or utc_now()
    signer = Webhook(house.settings.derived_key("webhooks:carriers:simulator"))
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(signed_at.timestamp())),
        "webhook-signature": signer.sign(event_id, signed_at, body.decode()),
    }
    return headers, body


async def say(house: House, number: str, status: TrackingStatus, **more: Any) -> None:
    headers, body = sent(house, number, status, **more)
    await house.service.tracking.receive("simulator", headers, body)


async def on_its_way(house: House) -> tuple[uuid.UUID, str]:
    """A shipped shipment and its number, without any carrier in the world."""
    shipment_id = await house.shipment("packed")
    number = f"SIM{shipment_id.hex}"
    await house.pool.execute(
        "UPDATE shipments SET status = 'shipped', shipped_at = now(), carrier = 'simulator',"
        " tracking_number = $2, label_url = 'http://127.0.0.1/l.pdf', version = version + 1"
        " WHERE shipment_id = $1",
        shipment_id,
        number,
    )
    await house.pool.execute(
        "INSERT INTO shipment_events (shipment_id, version, type, actor)"
        " VALUES ($1, 4, 'shipped', 'test')",
        shipment_id,
    )
    return shipment_id, number


async def test_the_way_to_the_door_is_told_once_at_its_end(house: House) -> None:
    shipment_id, number = await on_its_way(house)
    for status in PROGRESS:
        assert await house.told(Topic.SHIPMENT_DELIVERED) == []
        await say(house, number, status)
        assert (await house.row(shipment_id))["tracking_status"] == status
    row = await house.row(shipment_id)
    assert (row["status"], row["tracking_due_at"]) == ("delivered", None)
    assert [each["shipment_id"] for each in await house.told(Topic.SHIPMENT_DELIVERED)] == [
        str(shipment_id)
    ]
    detail = await house.service.detail(shipment_id)
    assert [each.status for each in detail.tracking] == list(PROGRESS)
    await house.check_invariants()


async def test_where_no_carrier_tells_a_person_does_and_once(house: House) -> None:
    shipment_id, number = await on_its_way(house)
    await asyncio.gather(*(house.service.deliver(shipment_id, "operator:1") for _ in range(4)))
    view = await house.service.deliver(shipment_id, "operator:2")
    assert (view.status, view.tracking_status) == ("delivered", "delivered")
    assert len(await house.told(Topic.SHIPMENT_DELIVERED)) == 1
    detail = await house.service.detail(shipment_id)
    assert [(each.type, each.actor) for each in detail.events[-2:]] == [
        ("shipped", "test"),
        ("delivered", "operator:1"),
    ]
    for status in (TrackingStatus.IN_TRANSIT, TrackingStatus.DELIVERED):  # it tells after all
        await say(house, number, status)
    assert (await house.row(shipment_id))["version"] == view.version
    await house.check_invariants()


@pytest.mark.parametrize("status", ["pending", "packed"])
async def test_what_has_not_left_is_not_delivered(house: House, status: str) -> None:
    shipment_id = await house.shipment(status)
    with pytest.raises(InvalidState):
        await house.service.deliver(shipment_id, "operator:1")
    assert (await house.row(shipment_id))["status"] == status
    with pytest.raises(NotFound):
        await house.service.deliver(uuid.uuid4(), "operator:1")
    await house.check_invariants()


async def test_any_order_any_number_of_times_ends_the_same(house: House) -> None:
    for seed in range(6):
        shipment_id, number = await on_its_way(house)
        webhooks = [sent(house, number, status) for status in TrackingStatus] * 2
        random.Random(seed).shuffle(webhooks)
        ranks = [-1]
        for headers, body in webhooks:
            await house.service.tracking.receive("simulator", headers, body)
            status = (await house.row(shipment_id))["tracking_status"]
            ranks.append(-1 if status is None else PROGRESS.index(TrackingStatus(status)))
        assert ranks == sorted(ranks), "it never moves backwards"
        row = await house.row(shipment_id)
        assert (row["status"], row["tracking_status"]) == ("delivered", "delivered")
        assert row["exception_detail"] == "it is exception"
        assert len(await house.told(Topic.SHIPMENT_DELIVERED)) == seed + 1
        told = "SELECT count(*) FROM tracking_events WHERE shipment_id = $1"
        assert await house.pool.fetchval(told, shipment_id) == len(TrackingStatus)
    await house.check_invariants()


async def test_all_at_once_is_as_good_as_one_by_one(house: House) -> None:
    shipment_id, number = await on_its_way(house)
    webhooks = [sent(house, number, status) for status in TrackingStatus] * 3
    await asyncio.gather(
        *(house.service.tracking.receive("simulator", *webhook) for webhook in webhooks)
    )
    await house.service.tracking.apply_kept(10)
    assert (await house.row(shipment_id))["status"] == "delivered"
    assert len(await house.told(Topic.SHIPMENT_DELIVERED)) == 1
    await house.check_invariants()


async def test_trouble_stands_beside_the_progress(house: House) -> None:
    shipment_id, number = await on_its_way(house)
    await say(house, number, TrackingStatus.IN_TRANSIT)
    await say(house, number, TrackingStatus.EXCEPTION)
    row = await house.row(shipment_id)
    assert (row["tracking_status"], row["exception_detail"]) == ("in_transit", "it is exception")
    older = row["exception_at"]
    await say(house, number, TrackingStatus.EXCEPTION, step=0)
    assert (await house.row(shipment_id))["exception_at"] == older


async def test_a_duplicate_changes_nothing(house: House) -> None:
    shipment_id, number = await on_its_way(house)
    headers, body = sent(house, number, TrackingStatus.IN_TRANSIT)
    await house.service.tracking.receive("simulator", headers, body)
    before = await house.row(shipment_id)
    await house.service.tracking.receive("simulator", headers, body)
    assert await house.row(shipment_id) == before


async def test_what_comes_before_its_shipment_waits_for_it(
    house: House, simulator: SimulatorClient
) -> None:
    shipment_id = await house.shipment("packed")
    # The carrier knows the parcel already; the house learns of its number only by the answer.
    label = await house.carriers["simulator"].create_label(
        await _consignment_of(house, shipment_id)
    )
    await say(house, label.tracking_number, TrackingStatus.PICKED_UP)
    await say(house, label.tracking_number, TrackingStatus.DELIVERED)
    assert await house.service.tracking.apply_kept(10) == 0
    assert (await house.row(shipment_id))["status"] == "packed"
    shipped = await house.service.labels.ship(shipment_id, "simulator", None, "test")
    assert shipped.tracking_number == label.tracking_number
    assert await house.service.tracking.apply_kept(10) == 1
    assert (await house.row(shipment_id))["status"] == "delivered"
    assert await house.service.tracking.apply_kept(10) == 0
    await house.check_invariants()


async def test_news_of_a_cancelled_shipment_is_put_away(house: House) -> None:
    shipment_id = await house.shipment("packed")
    order_id = (await house.row(shipment_id))["order_id"]
    await house.cancel_order(order_id)
    await house.cancelled(order_id)
    await house.pool.execute(
        "UPDATE shipments SET carrier = 'simulator', tracking_number = 'SIM9'"
        " WHERE shipment_id = $1",
        shipment_id,
    )
    await say(house, "SIM9", TrackingStatus.DELIVERED)
    row = await house.row(shipment_id)
    assert (row["status"], row["tracking_status"]) == ("cancelled", None)
    assert await house.service.tracking.apply_kept(10) == 0


async def test_a_forgery_leaves_no_trace(house: House) -> None:
    shipment_id, number = await on_its_way(house)
    headers, body = sent(house, number, TrackingStatus.DELIVERED)
    old = utc_now() - timedelta(minutes=6)
    forgeries: list[tuple[dict[str, str], bytes]] = [
        ({}, body),
        (headers, body[:-1]),
        (headers, body.replace(b"Depot", b"Mars!")),
        ({**headers, "webhook-id": "evt_other"}, body),
        ({**headers, "webhook-signature": "v1,AAAA"}, body),
        ({**headers, "webhook-signature": "%"}, body),
        sent(house, number, TrackingStatus.DELIVERED, signed_at=old),
    ]
    for forged_headers, forged_body in forgeries:
        with pytest.raises(Unauthenticated) as refusal:
            await house.service.tracking.receive("simulator", forged_headers, forged_body)
        assert refusal.value.code == "signature_invalid"
    with pytest.raises(NotFound):
        await house.service.tracking.receive("pigeon", headers, body)
    assert await house.pool.fetchval("SELECT count(*) FROM carrier_webhooks") == 0
    assert (await house.row(shipment_id))["status"] == "shipped"


async def test_what_is_signed_and_unreadable_is_not_kept(house: House) -> None:
    now = utc_now()
    signer = Webhook(house.settings.derived_key("webhooks:carriers:simulator"))
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign("evt_1", now, "{}"),
    }
    with pytest.raises(MalformedRequest):
        await house.service.tracking.receive("simulator", headers, b"{}")
    assert await house.pool.fetchval("SELECT count(*) FROM carrier_webhooks") == 0


async def test_a_silent_carrier_is_asked(house: House, simulator: SimulatorClient) -> None:
    shipment_id = await house.shipment("packed")
    await house.service.labels.ship(shipment_id, "simulator", None, "test")
    assert await house.service.tracking.ask_silent(10) == 0, "it has not been silent for long"
    await simulator.control(pace_ms=1, drop_webhook_rate=1)

    async def delivered() -> bool:
        await house.pool.execute(
            "UPDATE shipments SET tracking_due_at = now() WHERE tracking_due_at IS NOT NULL"
        )
        await house.service.tracking.ask_silent(10)
        return bool((await house.row(shipment_id))["status"] == "delivered")

    await eventually(delivered)
    assert len(await house.told(Topic.SHIPMENT_DELIVERED)) == 1
    assert await house.service.tracking.ask_silent(10) == 0
    await house.check_invariants()


async def test_silent_carriers_are_asked_side_by_side(house: House) -> None:
    together = asyncio.Barrier(CALLS_AT_ONCE_MAX)

    class Patient(SimulatedCarrier):
        async def tracking(self, tracking_number: str) -> list[TrackingEvent]:
            await together.wait()  # one after another, nobody would ever pass
            return []

    service = FulfilmentService(house.pool, Carriers([Patient.of(house.settings)]), house.settings)
    for _ in range(CALLS_AT_ONCE_MAX):
        await on_its_way(house)
    await house.pool.execute("UPDATE shipments SET tracking_due_at = now()")
    async with asyncio.timeout(5):
        assert await service.tracking.ask_silent(100) == 0


async def test_a_carrier_that_is_away_leaves_the_parcel_as_it_is(house: House) -> None:
    shipment_id, _ = await on_its_way(house)
    await house.pool.execute("UPDATE shipments SET tracking_due_at = now()")
    before = await house.row(shipment_id)
    assert await house.service.tracking.ask_silent(10) == 0
    row = await house.row(shipment_id)
    assert row.pop("tracking_due_at") > before.pop("tracking_due_at")
    assert row == before


async def test_old_webhooks_are_forgotten(house: House) -> None:
    for status in itertools.islice(PROGRESS, 3):
        await say(house, "SIM-nobody", status)
    assert await house.service.tracking.forget_old(10) == 0
    await house.pool.execute("UPDATE carrier_webhooks SET received_at = now() - interval '31 days'")
    assert await house.service.tracking.forget_old(2) == 2
    assert await house.service.tracking.forget_old(2) == 1


async def _consignment_of(house: House, shipment_id: uuid.UUID) -> Any:
    """What the house is going to ask for this shipment."""
    from flashorder.fulfilment.carriers.port import Consignment
    from flashorder.fulfilment.model import Parcel

    row = await house.row(shipment_id)
    return Consignment(shipment_id, [Parcel(1_100)], row["ship_to"])
