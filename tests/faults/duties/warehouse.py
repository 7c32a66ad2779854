"""The warehouse's desk, which is sometimes faster than the autopilot."""

from __future__ import annotations

import asyncio

from tests.faults.breaking import CALM
from tests.faults.duties.staff import Staff

SHIPMENTS = 3
PAUSE_SECONDS = 10.0


async def pack_by_hand(staff: Staff) -> None:
    """Pick, pack, ship, print the label, say that it arrived: each where it is due."""
    for status, verb, body in (
        ("pending", "pick", None),
        ("picking", "pack", None),
        ("packed", "ship", {"carrier": "simulator"}),
        ("shipped", "deliver", None),
    ):
        path = f"admin/shipments?status={status}&limit={SHIPMENTS}"
        found = (await staff.call("GET", path)).must()
        for shipment in found.body["items"]:
            one = f"admin/shipments/{shipment['shipment_id']}"
            await staff.call("GET", one)
            await staff.call("POST", f"{one}/{verb}", body)
            if verb in ("ship", "deliver"):
                await staff.call("GET", f"{one}/label")


async def take_labels_back(staff: Staff) -> None:
    """A carrier that is asked for a label and fails; then the order is cancelled."""
    await staff.have_manners("carrier", CALM["carrier"] | {"fail_rate": 1.0})
    try:
        await asyncio.sleep(2.0)
        asked = await staff.surely(
            "SELECT order_id FROM shipments WHERE status = 'packed' AND carrier IS NOT NULL LIMIT 2"
        )
        for row in asked:
            path = f"admin/orders/{row['order_id']}/cancel"
            await staff.call("POST", path, {"reason": "no label"})
    finally:
        await staff.have_manners("carrier", CALM["carrier"])
    await asyncio.sleep(PAUSE_SECONDS)
