"""What every carrier's adapter must do; an adapter's test class derives from it.

The bench puts the adapter before a carrier that can be told to move a parcel, and catches the
webhooks that it sends.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Protocol

import pytest

from flashorder.fulfilment.carriers.port import Carrier, CarrierRefused, Consignment
from flashorder.fulfilment.carriers.port import LabelCancellation as Cancellation
from flashorder.fulfilment.model import PROGRESS, Parcel, TrackingEvent, TrackingStatus
from flashorder.kernel.errors import MalformedRequest, ProviderUnavailable, Unauthenticated

Sent = tuple[Mapping[str, str], bytes]


class Bench(Protocol):
    """A carrier to try an adapter on."""

    @property
    def carrier(self) -> Carrier:
        """The adapter."""
        ...

    @property
    def refused_parcel(self) -> Parcel:
        """One that the carrier does not take."""
        ...

    async def deliver(self) -> None:
        """Let every parcel reach its door, soon."""
        ...

    async def webhooks(self, at_least: int) -> list[Sent]:
        """Headers and bodies as the carrier has sent them; waits for ``at_least``."""
        ...

    def signed(self, body: bytes) -> Sent:
        """A webhook of any content with a signature that holds."""
        ...

    async def disappear(self) -> None:
        """The carrier can no longer be reached."""
        ...


def consignment() -> Consignment:
    """A fresh one."""
    return Consignment(
        uuid.uuid4(), [Parcel(1_200, 300, 200, 100)], {"name": "Ada (Lovelace)", "city": "Łódź"}
    )


class CarrierConformance:
    """The suite."""

    async def test_one_key_one_label(self, bench: Bench) -> None:
        asked = consignment()
        labels = await asyncio.gather(*(bench.carrier.create_label(asked) for _ in range(4)))
        assert len(set(labels)) == 1
        assert labels[0].tracking_number
        other = await bench.carrier.create_label(consignment())
        assert other.tracking_number != labels[0].tracking_number

    async def test_the_label_can_be_printed(self, bench: Bench) -> None:
        label = await bench.carrier.create_label(consignment())
        document = await bench.carrier.label_document(label.url)
        assert document.content_type == "application/pdf"
        assert document.content.startswith(b"%PDF-")
        assert document.content.rstrip().endswith(b"%%EOF")

    async def test_documents_come_from_the_carrier_alone(self, bench: Bench) -> None:
        with pytest.raises(CarrierRefused):
            await bench.carrier.label_document("http://127.0.0.1:1/labels/x.pdf")

    async def test_what_the_carrier_does_not_take_is_refused(self, bench: Bench) -> None:
        asked = Consignment(uuid.uuid4(), [bench.refused_parcel], None)
        with pytest.raises(CarrierRefused):
            await bench.carrier.create_label(asked)

    async def test_a_label_is_taken_back_and_stays_so(self, bench: Bench) -> None:
        asked = consignment()
        await bench.carrier.create_label(asked)
        assert await bench.carrier.cancel_label(asked.shipment_id) is Cancellation.CANCELLED
        assert await bench.carrier.cancel_label(asked.shipment_id) is Cancellation.CANCELLED
        with pytest.raises(CarrierRefused):
            await bench.carrier.create_label(asked)

    async def test_a_label_that_never_was_is_unknown(self, bench: Bench) -> None:
        assert await bench.carrier.cancel_label(uuid.uuid4()) is Cancellation.UNKNOWN

    async def test_a_parcel_on_its_way_is_not_taken_back(self, bench: Bench) -> None:
        asked = consignment()
        label = await bench.carrier.create_label(asked)
        await bench.deliver()
        await self._delivered(bench, label.tracking_number)
        assert await bench.carrier.cancel_label(asked.shipment_id) is Cancellation.TOO_LATE

    async def test_tracking_tells_the_whole_way_in_order(self, bench: Bench) -> None:
        label = await bench.carrier.create_label(consignment())
        await bench.deliver()
        events = await self._delivered(bench, label.tracking_number)
        assert tuple(event.status for event in events) == PROGRESS
        assert len({event.event_id for event in events}) == len(events)
        assert {event.tracking_number for event in events} == {label.tracking_number}
        assert [event.occurred_at for event in events] == sorted(
            event.occurred_at for event in events
        )
        assert await bench.carrier.tracking(label.tracking_number) == events

    async def test_an_unknown_number_has_no_events(self, bench: Bench) -> None:
        assert await bench.carrier.tracking("NOSUCHNUMBER") == []

    async def test_webhooks_say_what_tracking_says(self, bench: Bench) -> None:
        label = await bench.carrier.create_label(consignment())
        await bench.deliver()
        events = await self._delivered(bench, label.tracking_number)
        heard = [
            bench.carrier.verify_webhook(headers, body)
            for headers, body in await bench.webhooks(at_least=len(events))
        ]
        assert sorted(heard, key=lambda event: event.occurred_at) == events

    async def test_a_webhook_that_was_touched_is_refused(self, bench: Bench) -> None:
        await bench.carrier.create_label(consignment())
        headers, body = (await bench.webhooks(at_least=1))[0]
        bench.carrier.verify_webhook(headers, body)
        signed = {name.lower() for name in bench.signed(b"{}")[0]}
        forgeries: list[Sent] = [
            (headers, body[:-1]),
            (headers, body + b" "),
            (headers, b""),
            (headers, b"\xff\xfe"),
            ({}, body),
            *(({**headers, name: wrong}, body) for name in signed for wrong in _WRONG),
            *(({k: v for k, v in headers.items() if k.lower() != name}, body) for name in signed),
        ]
        for forged_headers, forged_body in forgeries:
            lowered = {name.lower(): value for name, value in forged_headers.items()}
            with pytest.raises(Unauthenticated) as refusal:
                bench.carrier.verify_webhook(lowered, forged_body)
            assert refusal.value.code == "signature_invalid"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"{" * 10_000,
            b'{"data": {"event_id": "e", "tracking_number": "t", "status": "eaten"}}',
            b'{"data": {"event_id": "e\\u0000", "tracking_number": "t", "status": "delivered",'
            b' "occurred_at_ms": 1}}',
        ],
        ids=["empty", "nothing", "list", "null", "deep", "unknown status", "NUL"],
    )
    async def test_what_is_signed_and_cannot_be_read_is_malformed(
        self, bench: Bench, body: bytes
    ) -> None:
        headers, signed_body = bench.signed(body)
        with pytest.raises(MalformedRequest):
            bench.carrier.verify_webhook(headers, signed_body)

    async def test_a_carrier_that_is_away_is_unavailable(self, bench: Bench) -> None:
        asked = consignment()
        label = await bench.carrier.create_label(asked)
        await bench.disappear()
        for call in (
            bench.carrier.create_label(asked),
            bench.carrier.cancel_label(asked.shipment_id),
            bench.carrier.tracking(label.tracking_number),
            bench.carrier.label_document(label.url),
        ):
            with pytest.raises(ProviderUnavailable):
                await call

    async def test_closing_twice_is_no_harm(self, bench: Bench) -> None:
        await bench.carrier.create_label(consignment())
        await bench.carrier.close()
        await bench.carrier.close()

    async def _delivered(self, bench: Bench, tracking_number: str) -> list[TrackingEvent]:
        async with asyncio.timeout(10):
            while True:
                events = await bench.carrier.tracking(tracking_number)
                if events and events[-1].status is TrackingStatus.DELIVERED:
                    return events
                await asyncio.sleep(0.01)


_WRONG = ("", "0", "x", "v1,", "v1,AAAA", "v1,%%%", "v1", "1e99", "nan", "-1")
