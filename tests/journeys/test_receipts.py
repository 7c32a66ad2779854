"""A receipt over HTTP, in the whole system: by the contract, and for nobody else."""

from __future__ import annotations

import uuid
from typing import Any

from tests.journeys.system import Answer, System

SIGNED = ("order_id", "sku", "quantity", "unit_price", "receipt")


async def present(system: System, sale_id: str, body: dict[str, Any], **who: str) -> Answer:
    path = f"/v1/sales/{sale_id}/receipts"
    return await system.call("POST", path, body, token=who.get("token", system.shopper))


async def test_a_receipt_is_answered_as_the_contract_says(system: System) -> None:
    sale_id = await system.open_sale()
    bought = await system.buy(sale_id)
    receipt = {name: bought.body[name] for name in SIGNED}
    shown = await present(system, sale_id, receipt)
    assert (shown.status, shown.body) == (202, bought.body)
    assert shown.headers["Idempotency-Replayed"] == "true"
    assert shown.headers["Location"] == bought.headers["Location"]
    forged = await present(system, sale_id, {**receipt, "quantity": 2})
    assert (forged.status, forged.code) == (422, "receipt_invalid")
    stolen = await present(system, sale_id, receipt, token=system.operator)
    assert (stolen.status, stolen.code) == (403, "forbidden")
    elsewhere = await present(system, str(uuid.uuid4()), receipt)
    assert (elsewhere.status, elsewhere.code) == (404, "sale_not_found")
    assert (await present(system, sale_id, {**receipt, "receipt": None})).status == 422


async def test_a_receipt_holds_when_the_sale_is_paused_and_closed(system: System) -> None:
    sale_id = await system.open_sale()
    bought = await system.buy(sale_id)
    receipt = {name: bought.body[name] for name in SIGNED}
    for verb in ("pause", "close"):
        assert (await system.admin("POST", f"sales/{sale_id}/{verb}")).status == 200
        assert (await present(system, sale_id, receipt)).body == bought.body
    await system.until(bought.body["order_id"], lambda order: order["status"] != "accepted")
    assert (await present(system, sale_id, receipt)).body == bought.body
