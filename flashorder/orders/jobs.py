"""What happens to orders by the clock and by what other rooms tell."""

from __future__ import annotations

from flashorder.infra.jobs import Job
from flashorder.kernel.events import Handler, Topic
from flashorder.orders.service import OrderService
from flashorder.orders.settlement import OrderSettlement
from flashorder.orders.units import OrderUnits
from flashorder.settings import Settings

ORDERS_PER_ROUND_MAX = 200
EXPIRY_INTERVAL_SECONDS = 0.5
COMPLETION_INTERVAL_SECONDS_MAX = 5.0
FORGOTTEN_AFTER_SECONDS = 60.0


def jobs(service: OrderService, units: OrderUnits, settings: Settings) -> list[Job]:
    """Expiry, completion, the net below the release; with the autopilot, release to the house."""
    # Who completes after seconds does not want to wait for as many more.
    completion_interval_seconds = min(
        COMPLETION_INTERVAL_SECONDS_MAX,
        max(EXPIRY_INTERVAL_SECONDS, settings.completion_delay_seconds / 10),
    )
    found = [
        Job(
            "orders.expire",
            EXPIRY_INTERVAL_SECONDS,
            lambda: service.expire_due(ORDERS_PER_ROUND_MAX),
        ),
        Job(
            "orders.complete",
            completion_interval_seconds,
            lambda: service.complete_delivered(
                settings.completion_delay_seconds, ORDERS_PER_ROUND_MAX
            ),
        ),
        Job(
            "orders.release_forgotten",
            FORGOTTEN_AFTER_SECONDS / 4,
            lambda: units.release_forgotten(FORGOTTEN_AFTER_SECONDS, ORDERS_PER_ROUND_MAX),
        ),
    ]
    if settings.autopilot:
        found.append(
            Job("orders.autopilot", 0.5, lambda: service.release_paid(ORDERS_PER_ROUND_MAX))
        )
    return found


def subscriptions(
    service: OrderService, settlement: OrderSettlement, units: OrderUnits
) -> dict[Topic, Handler]:
    """What orders listens to."""
    return {
        Topic.ORDER_CANCELLED: units.order_cancelled,
        Topic.ORDER_PAID_LATE: settlement.paid_late,
        Topic.PAYMENT_CAPTURED: settlement.payment_captured,
        Topic.REFUND_SUCCEEDED: settlement.refund_succeeded,
        Topic.SHIPMENT_SHIPPED: service.shipment_shipped,
        Topic.SHIPMENT_DELIVERED: service.shipment_delivered,
    }
