"""What the worker does for payments, and the events that this room hears."""

from __future__ import annotations

from flashorder.infra.jobs import Job
from flashorder.kernel.events import Handler, Topic
from flashorder.payments.service import PaymentService
from flashorder.settings import Settings


def jobs(service: PaymentService, settings: Settings) -> list[Job]:
    """Short rounds; the claims themselves say when a payment or refund has its next turn."""
    upkeep = service.upkeep
    pause_seconds = min(1.0, settings.payment_silence_seconds / 4)
    return [
        Job("payments_ask_silent", pause_seconds, upkeep.ask_silent),
        Job("payments_drive_refunds", pause_seconds, upkeep.drive_refunds),
        Job("payments_apply_kept_webhooks", 1.0, upkeep.apply_kept_webhooks),
        Job("payments_measure", 5.0, service.measure),
        Job("payments_purge_webhooks", 60.0, upkeep.purge_webhooks),
    ]


def subscriptions(service: PaymentService) -> dict[Topic, Handler]:
    """Both write down what is wanted and return; the jobs do it at the provider."""
    return {
        Topic.ORDER_CANCELLED: service.on_order_cancelled,
        Topic.ORDER_REFUND_DUE: service.on_refund_due,
    }
