"""Operators at the desk of orders and payments, and buyers who change their minds."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any

import aiohttp

from tests.faults.checks.lives import GOODWILL
from tests.faults.clients import Buyer
from tests.faults.duties.accounts import ADDRESS, sign_up
from tests.faults.duties.staff import CALL_TIMEOUT_SECONDS, SKUS, Interrupted, Staff
from tests.faults.history import Outcome

STREAM_SECONDS = 3.0


async def look_after_orders(staff: Staff) -> None:
    """Search, read, note; cancel one, hand one to the warehouse, complete one."""
    await staff.call("GET", "sales")
    await staff.call("GET", f"sales/{staff.main_sale.sale_id}")
    await staff.call("GET", f"admin/sales/{staff.main_sale.sale_id}")
    await staff.call("GET", "admin/sales")
    await staff.call("GET", f"admin/orders/{uuid.uuid4()}")
    for status, verb, body in (
        ("pending_payment", "cancel", {"reason": "operator"}),
        ("paid", "release-to-warehouse", None),
        ("awaiting_shipment", "cancel", {"reason": "operator"}),
        ("shipped", "complete", None),
    ):
        for order in await _orders(staff, status):
            one = f"admin/orders/{order['order_id']}"
            await staff.call("GET", one)
            await staff.call("POST", f"{one}/notes", {"text": "looked at"})
            await staff.call("POST", f"{one}/{verb}", body)


async def look_after_payments(staff: Staff) -> None:
    """A penny goes back for goodwill, an attempt that is open is given up."""
    await staff.call("GET", "admin/payments?refund=refused")
    captured = (await staff.call("GET", "admin/payments?status=captured&limit=3")).must().body
    for payment in captured["items"]:
        one = f"admin/payments/{payment['payment_id']}"
        await staff.call("GET", one)
        await staff.call("POST", f"{one}/capture")
        penny = {"amount": 1, "currency": "GBP"}
        await staff.call("POST", f"{one}/refunds", {"reason": GOODWILL, "amount": penny})
    buyer, order_id = await _bought(staff)
    started = await staff.clients.pay(buyer, order_id, f"{order_id}/1")
    if started.outcome is Outcome.OK:
        await staff.call("GET", f"orders/{order_id}/payments", by=buyer)
        await staff.call("POST", f"admin/payments/{started.body['payment_id']}/void")


async def change_minds(staff: Staff) -> None:
    """Another address, a cancellation before and after paying, a receipt that is confirmed."""
    buyer, order_id = await _bought(staff, await sign_up(staff))
    await staff.call("GET", f"orders/{uuid.uuid4()}", by=buyer)
    await staff.call("GET", "orders", by=buyer)
    addresses = [
        (await staff.call("POST", "me/addresses", ADDRESS, by=buyer)).body for _ in range(2)
    ]
    read = await staff.call("GET", f"orders/{order_id}", by=buyer)
    for address in (each for each in addresses if each):
        body = {"address_id": address.get("address_id", str(uuid.uuid4()))}
        headers = {"If-Match": read.etag} if read.etag else {}
        await staff.call("PATCH", f"orders/{order_id}", body, by=buyer, headers=headers)
        read = await staff.call("GET", f"orders/{order_id}", by=buyer)
    await staff.clients.cancel(buyer, order_id, f"{order_id}/cancel")
    buyer, order_id = await _bought(staff)
    started = await staff.clients.pay(buyer, order_id, f"{order_id}/1")
    if started.outcome is Outcome.OK and started.body.get("action"):
        await staff.clients.decide(buyer, order_id, started.body["action"]["url"], "approve")

    async def shipped() -> bool:
        read = await staff.call("GET", f"orders/{order_id}", by=buyer)
        return read.ok and read.body["status"] in ("shipped", "completed", "cancelled")

    await staff.until(shipped)
    await staff.call("POST", f"orders/{order_id}/confirm-receipt", by=buyer)


async def watch_a_stream(staff: Staff) -> None:
    """A buyer who looks on while the order moves."""
    buyer, order_id = await _bought(staff)
    headers = {"Authorization": f"Bearer {buyer.token}"}
    url = f"{staff.system.url}/v1/orders/{order_id}/stream"
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_SECONDS)
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with staff.session.get(url, headers=headers, timeout=timeout) as answer:
            watching = asyncio.create_task(answer.content.read())
            await staff.clients.cancel(buyer, order_id, f"{order_id}/cancel")
            await asyncio.wait({watching}, timeout=STREAM_SECONDS)
            watching.cancel()
            await asyncio.wait({watching})
    await staff.call("GET", f"orders/{order_id}/stream", by=buyer)


async def _bought(staff: Staff, buyer: Buyer | None = None) -> tuple[Buyer, str]:
    """Somebody, or somebody new, with an order."""
    buyer = buyer or staff.newcomers(1)[0]
    sale = await staff.counter()
    wish = {"sku": staff.chance.choice(SKUS), "quantity": 1}
    call = await staff.clients.buy(buyer, sale.sale_id, uuid.uuid4().hex, wish)
    if call.outcome is not Outcome.OK:
        raise Interrupted("nothing was to be had")
    return buyer, str(call.body["order_id"])


async def _orders(staff: Staff, status: str) -> list[Any]:
    found = (await staff.call("GET", f"admin/orders?status={status}&limit=2")).must()
    return list(found.body["items"])
