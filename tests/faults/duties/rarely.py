"""What happens once in a long time, brought about: so that it is struck as well."""

from __future__ import annotations

import asyncio
import uuid

from tests.faults.clients import Buyer
from tests.faults.duties.staff import SKUS, Interrupted, Staff
from tests.faults.history import Call, Outcome

COMING_AND_GOING_SECONDS = 8.0
CROWD = 3
ASKED_SECONDS = 0.1
WINDOW_SECONDS = 2


async def come_and_go(staff: Staff) -> None:
    """One unit that everybody wants and nobody pays for: sold out, back, sold, sold out again."""
    sale = await staff.side_sale(1, WINDOW_SECONDS)
    ends = asyncio.get_running_loop().time() + COMING_AND_GOING_SECONDS

    async def want() -> None:
        while asyncio.get_running_loop().time() < ends:
            (buyer,) = staff.newcomers(1)
            wish = {"sku": SKUS[0], "quantity": 1}
            await staff.clients.buy(buyer, sale.sale_id, uuid.uuid4().hex, wish)
            await asyncio.sleep(ASKED_SECONDS)

    try:
        await asyncio.gather(*(want() for _ in range(CROWD)))
    finally:
        await staff.operator.end(sale)


async def pay_for_what_is_promised_elsewhere(staff: Staff) -> None:
    """A late payment whose unit the front has again, and PostgreSQL has not: it is refunded."""
    sale = await staff.side_sale(1, WINDOW_SECONDS)
    try:
        buyer, order_id, started = await _began_to_pay(staff, sale.sale_id)
        await staff.until(lambda: _is(staff, order_id, "released_at IS NOT NULL"))
        await staff.promise(sale, SKUS[0], 0)
        try:
            await staff.clients.decide(buyer, order_id, started.body["action"]["url"], "approve")
            settled = "EXISTS (SELECT FROM refunds WHERE refunds.order_id = orders.order_id)"
            await staff.until(lambda: _is(staff, order_id, settled), 30.0)
        finally:
            await staff.promise(sale, SKUS[0], 1)
    finally:
        await staff.operator.end(sale)


async def lose_sight_of_a_payment(staff: Staff) -> None:
    """The provider says that it has no such payment: at the second time it is over."""
    sale = await staff.side_sale(1, 30)
    try:
        _, order_id, _ = await _began_to_pay(staff, sale.sale_id)
        await staff.surely(
            "UPDATE payments SET provider_reference = $2 "
            "WHERE order_id = $1 AND status = 'requires_action'",
            uuid.UUID(order_id),
            f"gone_{uuid.uuid4().hex}",
        )
        over = (
            "EXISTS (SELECT FROM payments AS p WHERE p.order_id = orders.order_id "
            "AND p.status = 'expired')"
        )
        await staff.until(lambda: _is(staff, order_id, over), 30.0)
    finally:
        await staff.operator.end(sale)


async def keep_a_webhook_that_cannot_be_applied(staff: Staff) -> None:
    """It is pushed back, again and again, until somebody takes it away."""
    rows = await staff.surely("SELECT payment_id FROM payments ORDER BY payment_id DESC LIMIT 1")
    if not rows:
        raise Interrupted("nobody has paid yet")
    event_id = f"garbled-{uuid.uuid4().hex}"
    try:
        await staff.surely(
            "INSERT INTO payment_webhooks (provider, event_id, payload, event, payment_id) "
            "VALUES ('simulator', $1, '', '{}', $2) ON CONFLICT DO NOTHING",
            event_id,
            rows[0]["payment_id"],
        )

        async def pushed_back() -> bool:
            found = await staff.surely(
                "SELECT FROM payment_webhooks WHERE event_id = $1 AND failures > 0", event_id
            )
            # Now, and not in a minute.
            await staff.surely(
                "UPDATE payment_webhooks SET apply_at = now() WHERE event_id = $1", event_id
            )
            return bool(found)

        await staff.until(pushed_back)
    finally:
        await staff.surely("DELETE FROM payment_webhooks WHERE event_id = $1", event_id)


async def _began_to_pay(staff: Staff, sale_id: str) -> tuple[Buyer, str, Call]:
    (buyer,) = staff.newcomers(1)
    wish = {"sku": SKUS[0], "quantity": 1}
    bought = await staff.clients.buy(buyer, sale_id, uuid.uuid4().hex, wish)
    if bought.outcome is not Outcome.OK:
        raise Interrupted("nothing was to be had")
    order_id = str(bought.body["order_id"])
    started = await staff.clients.pay(buyer, order_id, f"{order_id}/1")
    if started.outcome is not Outcome.OK or not started.body.get("action"):
        raise Interrupted("the payment was not begun")
    return buyer, order_id, started


async def _is(staff: Staff, order_id: str, what: str) -> bool:
    """Whether the order's row is there and ``what`` is true of it."""
    query = f"SELECT FROM orders WHERE order_id = $1 AND {what}"
    return bool(await staff.surely(query, uuid.UUID(order_id)))
