"""Sales beside the main one: what operators do with them, from the draft to the settling."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.duties.staff import SKUS, Interrupted, Staff
from tests.faults.history import Outcome
from tests.faults.operating import Offer, Sale

UNITS = 6
CLOCK_SECONDS = 25.0
LETTERS = 2
SETTLED_SECONDS = 30.0


async def from_draft_to_settled(staff: Staff) -> None:
    """Opened, paused, resumed, topped up, bought from, closed, and settled by hand."""
    sale = await staff.side_sale(UNITS)
    one = f"admin/sales/{sale.sale_id}"
    try:
        await staff.call("POST", f"{one}/pause")
        await staff.call("POST", f"{one}/resume")
        await staff.operator.add(sale, SKUS[0], 2)
        await staff.shop(sale, 8)
    finally:
        await staff.operator.end(sale)

    async def settled() -> bool:
        await staff.call("POST", f"{one}/settle")
        read = await staff.call("GET", one)
        return read.ok and read.body["status"] == "settled"

    await staff.until(settled, SETTLED_SECONDS)


async def by_the_clock(staff: Staff) -> None:
    """Scheduled, opened and closed by its own times, and settled by itself."""
    now = datetime.now(UTC)
    body: dict[str, Any] = {
        "title": "By the clock",
        "starts_at": (now + timedelta(seconds=2)).isoformat(),
        "ends_at": (now + timedelta(seconds=CLOCK_SECONDS)).isoformat(),
        "payment_window_seconds": 3,
        "items": [
            {
                "sku": SKUS[0],
                "quantity": UNITS,
                "unit_price": {"amount": 250, "currency": "GBP"},
                "per_buyer_limit": 2,
            }
        ],
    }
    made = (await staff.call("POST", "admin/sales", body)).must()
    sale = Sale(str(made.body["sale_id"]), {SKUS[0]: Offer(UNITS, 2)})
    staff.sales.append(sale)
    one = f"admin/sales/{sale.sale_id}"

    async def scheduled() -> bool:
        return (await staff.call("POST", f"{one}/schedule")).ok

    async def opened() -> bool:
        read = await staff.call("GET", one)
        return read.ok and read.body["status"] == "open"

    await staff.until(scheduled)
    await staff.until(opened)
    await asyncio.sleep(2.0)
    await staff.shop(sale, 8)

    async def over() -> bool:
        read = await staff.call("GET", one)
        return read.ok and read.body["status"] in ("closed", "settled")

    await staff.until(over, 2 * CLOCK_SECONDS)


async def build_anew(staff: Staff) -> None:
    """Rebuilt by force, although the store has it; and bought from before and after."""
    sale = await staff.side_sale(UNITS)
    try:
        await staff.shop(sale, 4)
        await staff.operator.rebuild(sale, force=True)
        await staff.shop(sale, 4)
    finally:
        await staff.operator.end(sale)


async def refuse_at_the_database(staff: Staff) -> None:
    """What PostgreSQL will not have becomes a dead letter: one is taken up again, one given up.

    The promise is lowered behind the front's back, so that its last guard refuses.
    """
    sale = await staff.side_sale(LETTERS)
    try:
        await staff.promise(sale, SKUS[0], 0)
        try:
            for buyer in staff.newcomers(LETTERS):
                wish = {"sku": SKUS[0], "quantity": 1}
                for _ in range(4):
                    call = await staff.clients.buy(buyer, sale.sale_id, buyer.buyer_id, wish)
                    if call.outcome is not Outcome.UNKNOWN:
                        break
            letters = await _letters(staff, sale)
        finally:
            await staff.promise(sale, SKUS[0], LETTERS)
        for letter, verb in zip(letters, ("retry", "discard"), strict=False):
            one = f"admin/dead-letters/{letter}"
            await staff.call("GET", "admin/dead-letters?status=held")
            await staff.call("GET", one)
            await _decide(staff, one, verb)
    finally:
        for letter in await _held(staff, sale):
            await _decide(staff, f"admin/dead-letters/{letter}", "discard")
        await staff.operator.end(sale)


async def _letters(staff: Staff, sale: Sale) -> list[str]:
    found: list[str] = []

    async def there() -> bool:
        found[:] = await _held(staff, sale)
        return len(found) >= LETTERS

    with suppress(Interrupted):  # what there is will do
        await staff.until(there)
    return found


async def _held(staff: Staff, sale: Sale) -> list[str]:
    """Dead letters of the sale that wait for a decision."""
    rows = await staff.surely(
        "SELECT dead_letter_id FROM dead_letters WHERE sale_id = $1 AND status = 'held' "
        "ORDER BY dead_letter_id",
        uuid.UUID(sale.sale_id),
    )
    return [str(row["dead_letter_id"]) for row in rows]


async def _decide(staff: Staff, one: str, verb: str) -> None:
    async def decided() -> bool:
        told = await staff.call("POST", f"{one}/{verb}")
        return told.ok or told.status == 409

    await staff.until(decided, 30.0)
