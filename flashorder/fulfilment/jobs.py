"""What happens to shipments by the clock and by what other rooms tell."""

from __future__ import annotations

from flashorder.fulfilment.metrics import FulfilmentMetrics
from flashorder.fulfilment.model import ShipmentStatus
from flashorder.fulfilment.service import FulfilmentService
from flashorder.infra.jobs import Job
from flashorder.kernel.events import Handler, Topic
from flashorder.settings import Settings

AUTOPILOT_CARRIER = "simulator"
AUTOPILOT_INTERVAL_SECONDS = 0.25
FORGET_INTERVAL_SECONDS = 60.0
SILENT_INTERVAL_SECONDS_MAX = 5.0


def jobs(service: FulfilmentService, settings: Settings, metrics: FulfilmentMetrics) -> list[Job]:
    """Labels, kept webhooks, silent carriers; with the autopilot, the hands of the warehouse."""
    batch = settings.fulfilment_batch_shipments_max
    silent_seconds = min(SILENT_INTERVAL_SECONDS_MAX, settings.tracking_silence_seconds / 2)
    found = [
        Job("fulfilment.labels", 0.5, lambda: service.labels.ask_due(batch)),
        Job("fulfilment.unwanted_labels", 1.0, lambda: service.labels.take_back_due(batch)),
        Job("fulfilment.kept_webhooks", 0.5, lambda: service.tracking.apply_kept(batch)),
        Job("fulfilment.silent", silent_seconds, lambda: service.tracking.ask_silent(batch)),
        Job("fulfilment.measure", 5.0, lambda: service.labels.measure(metrics)),
        Job(
            "fulfilment.forget", FORGET_INTERVAL_SECONDS, lambda: service.tracking.forget_old(1_000)
        ),
    ]
    return found + _autopilot(service, settings) if settings.autopilot else found


def subscriptions(service: FulfilmentService) -> dict[Topic, Handler]:
    """What fulfilment listens to."""
    return {
        Topic.ORDER_AWAITING_SHIPMENT: service.order_awaits_shipment,
        Topic.ORDER_CANCELLED: service.order_cancelled,
    }


def _autopilot(service: FulfilmentService, settings: Settings) -> list[Job]:
    """Pick, pack and ship on their own, with a short rest before each step."""
    batch, rest_seconds = settings.fulfilment_batch_shipments_max, settings.autopilot_pause_seconds
    picking, packed = ShipmentStatus.PICKING, ShipmentStatus.PACKED
    return [
        Job(
            "fulfilment.autopilot_pick",
            AUTOPILOT_INTERVAL_SECONDS,
            lambda: service.advance_waiting(picking, rest_seconds, batch),
        ),
        Job(
            "fulfilment.autopilot_pack",
            AUTOPILOT_INTERVAL_SECONDS,
            lambda: service.advance_waiting(packed, rest_seconds, batch),
        ),
        Job(
            "fulfilment.autopilot_ship",
            AUTOPILOT_INTERVAL_SECONDS,
            lambda: service.labels.request_for_packed(AUTOPILOT_CARRIER, rest_seconds, batch),
        ),
    ]
