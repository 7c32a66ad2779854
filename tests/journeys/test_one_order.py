"""One order from the click to the parcel, and the ways it can end otherwise."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from flashorder.cli.verify import run_verification
from tests.journeys.system import SKU, System, running_system


async def remaining(system: System, sale_id: str) -> int:
    answer = await system.call("GET", f"/v1/sales/{sale_id}")
    return int(answer.body["items"][0]["remaining"])


async def sells_again(system: System, sale_id: str) -> None:
    async with asyncio.timeout(10):
        while (await system.buy(sale_id)).status != 202:
            await asyncio.sleep(0.02)


async def comes_back(system: System, sale_id: str, units: int) -> None:
    async with asyncio.timeout(10):
        while await remaining(system, sale_id) != units:
            await asyncio.sleep(0.05)


async def adds_up(system: System) -> None:
    report = await run_verification(system.settings, 15.0)
    assert report.holds, report


async def test_from_the_click_to_the_doorstep(system: System) -> None:
    sale_id = await system.open_sale()
    async with asyncio.timeout(5):  # the list may be a moment old
        while not (listed := await system.call("GET", "/v1/sales?status=open")).body["items"]:
            await asyncio.sleep(0.02)
    assert [sale["sale_id"] for sale in listed.body["items"]] == [sale_id]

    bought = await system.buy(sale_id, 2)
    assert bought.status == 202, bought.body
    order_id = bought.body["order_id"]
    assert bought.headers["Location"] == f"/v1/orders/{order_id}"
    assert bought.body["total"] == {"amount": 510, "currency": "GBP"}
    at_once = await system.order(order_id)
    assert at_once["order_number"] == bought.body["order_number"]
    assert at_once["status"] in ("accepted", "pending_payment")
    assert at_once["lines"][0]["quantity"] == 2

    await system.until(order_id, lambda order: order["status"] == "pending_payment")
    await system.pay(order_id)
    paid = await system.until(order_id, lambda order: order["status"] == "paid")
    assert paid["payment_status"] == "captured"

    released = await system.admin("POST", f"orders/{order_id}/release-to-warehouse")
    assert released.status == 200, released.body
    await system.until(order_id, lambda order: order["fulfillment_status"] == "pending")
    shipments = await system.admin("GET", f"shipments?order_id={order_id}")
    shipment_id = shipments.body["items"][0]["shipment_id"]
    for verb, body in (("pick", None), ("pack", None), ("ship", {"carrier": "simulator"})):
        moved = await system.admin("POST", f"shipments/{shipment_id}/{verb}", body)
        assert moved.status == 200, moved.body
    assert moved.body["tracking_number"]
    assert moved.body["label_url"]
    async with system.http.get(moved.body["label_url"]) as label:
        assert label.status == 200
    await system.until(order_id, lambda order: order["status"] == "completed", 40)

    done = await system.order(order_id)
    steps = [event["type"] for event in done["events"]]
    assert [step for step in steps if step != "delivered"] == [
        "placed", "paid", "awaiting_shipment", "shipped", "completed"]  # fmt: skip
    await comes_back(system, sale_id, 8)
    await adds_up(system)
    stock = await system.admin("GET", f"stock/{SKU}")
    assert (stock.body["on_hand"], stock.body["available"]) == (8, 0)


async def test_a_cancelled_order_gives_its_unit_back(system: System) -> None:
    sale_id = await system.open_sale(quantity=1)
    order_id = (await system.buy(sale_id)).body["order_id"]
    assert (await system.buy(sale_id)).code in ("sold_out", "limit_reached")
    await system.until(order_id, lambda order: order["status"] == "pending_payment")
    cancelled = await system.call(
        "POST", f"/v1/orders/{order_id}/cancel", {"reason": "changed_mind"},
        token=system.shopper, key=uuid.uuid4().hex,
    )  # fmt: skip
    assert cancelled.status == 200, cancelled.body
    await sells_again(system, sale_id)
    await adds_up(system)


async def test_a_paid_order_that_is_cancelled_is_refunded(system: System) -> None:
    sale_id = await system.open_sale()
    order_id = (await system.buy(sale_id)).body["order_id"]
    await system.until(order_id, lambda order: order["status"] == "pending_payment")
    await system.pay(order_id)
    await system.until(order_id, lambda order: order["status"] == "paid")
    cancelled = await system.admin("POST", f"orders/{order_id}/cancel", {"reason": "out_of_stock"})
    assert cancelled.status == 200, cancelled.body
    await system.until(order_id, lambda order: order["payment_status"] == "refunded")
    await comes_back(system, sale_id, 10)
    async with system.http.get(f"{system.settings.payment_simulator_url}/ledger") as ledger:
        books = await ledger.json()
    assert len(books["captures"]) == len(books["refunds"]) == 1
    await adds_up(system)


async def test_a_declined_payment_can_be_tried_again(system: System) -> None:
    sale_id = await system.open_sale()
    order_id = (await system.buy(sale_id)).body["order_id"]
    await system.until(order_id, lambda order: order["status"] == "pending_payment")
    await system.pay(order_id, "decline")
    await system.until(order_id, lambda order: order["payment_status"] == "failed")
    await system.pay(order_id)
    await system.until(order_id, lambda order: order["status"] == "paid")
    await adds_up(system)


async def test_an_unpaid_order_expires_and_its_unit_is_sold_again(system: System) -> None:
    sale_id = await system.open_sale(quantity=1, payment_window_seconds=1)
    order_id = (await system.buy(sale_id)).body["order_id"]
    expired = await system.until(order_id, lambda order: order["status"] == "cancelled")
    assert expired["cancel_reason"] == "payment_expired"
    await sells_again(system, sale_id)
    await adds_up(system)


async def late_payment(system: System, sale_id: str) -> str:
    """An order whose payment is approved in time and told after it has expired."""
    async with system.http.put(
        f"{system.settings.payment_simulator_url}/control", json={"delay_webhook_ms": 3000}
    ) as control:
        assert control.status == 200, await control.text()
    order_id = str((await system.buy(sale_id)).body["order_id"])
    await system.until(order_id, lambda order: order["status"] != "accepted")
    await system.pay(order_id)
    await system.until(order_id, lambda order: order["cancel_reason"] == "payment_expired")
    return order_id


async def test_a_late_payment_gets_its_unit_back(system: System) -> None:
    sale_id = await system.open_sale(quantity=1, payment_window_seconds=2)
    order_id = await late_payment(system, sale_id)
    paid = await system.until(order_id, lambda order: order["status"] == "paid")
    assert paid["payment_status"] == "captured"
    await comes_back(system, sale_id, 0)
    await adds_up(system)


async def test_a_late_payment_whose_unit_was_resold_is_refunded(system: System) -> None:
    sale_id = await system.open_sale(quantity=1, limit=5, payment_window_seconds=2)
    order_id = await late_payment(system, sale_id)
    async with asyncio.timeout(10):
        while (resold := await system.buy(sale_id)).status != 202:
            await asyncio.sleep(0.02)
    refunded = await system.until(order_id, lambda order: order["payment_status"] == "refunded")
    assert refunded["status"] == "cancelled"
    assert resold.body["sku"] == SKU
    await adds_up(system)


async def test_a_stream_tells_each_step_and_does_not_hold_up_the_end(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    clock = asyncio.get_running_loop().time
    async with aiohttp.ClientSession() as watcher, AsyncExitStack() as watched:
        async with running_system(redis_url, database_url, tmp_path) as system:
            order_id = (await system.buy(await system.open_sale())).body["order_id"]
            stream = await watched.enter_async_context(
                watcher.get(
                    f"http://127.0.0.1:{system.settings.port}/v1/orders/{order_id}/stream",
                    headers={"Authorization": f"Bearer {system.shopper}"},
                )
            )
            assert stream.status == 200
            async with asyncio.timeout(10):
                while b"placed" not in await stream.content.readline():
                    pass
            began = clock()
        assert clock() - began < system.settings.drain_timeout_seconds / 2
