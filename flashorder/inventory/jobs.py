"""What the stock hears from other rooms."""

from __future__ import annotations

from flashorder.inventory.departures import Departures
from flashorder.kernel.events import Handler, Topic


def subscriptions(departures: Departures) -> dict[Topic, Handler]:
    """What inventory listens to."""
    return {Topic.SHIPMENT_SHIPPED: departures.shipment_shipped}
