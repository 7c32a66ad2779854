"""Stock that comes in and is counted; stores that disagree, and are brought together."""

from __future__ import annotations

from tests.faults.duties.staff import SKUS, Staff
from tests.faults.operating import Sale

OUTCOME_SECONDS = 20.0
UNITS = 3
COUNTED = "COUNTED"


async def count_stock(staff: Staff) -> None:
    """Some comes in, one is missing, and the ledger is read."""
    price = {"amount": 100, "currency": "GBP"}
    counted = {"sku": COUNTED, "name": "Counted", "unit_price": price}
    await staff.call("POST", "admin/products", counted)
    one = f"admin/stock/{COUNTED}"
    await staff.call("POST", f"{one}/receive", {"quantity": 5})
    await staff.call("POST", f"{one}/adjust", {"quantity": -1, "cause": "counted"})
    await staff.call("GET", "admin/stock")
    await staff.call("GET", one)
    await staff.call("GET", f"admin/stock/movements?sku={COUNTED}")


async def correct_a_drift(staff: Staff) -> None:
    """PostgreSQL promises a unit that the front does not have, and takes it back again.

    In a sale that nobody is told of, so that the unit is there to be taken back.
    """
    sale = await staff.side_sale(UNITS)
    try:
        for units in (UNITS + 1, UNITS):
            await staff.promise(sale, SKUS[0], units)
            await _corrected(staff, sale)
    finally:
        await staff.promise(sale, SKUS[0], UNITS)
        await staff.operator.end(sale)


async def _corrected(staff: Staff, sale: Sale) -> None:
    """Reconcile until it is told, correct, and see that it is gone."""
    told = False

    async def balanced() -> bool:
        nonlocal told
        run = await staff.call("POST", "admin/reconciliations", {"cause": "chaos"})
        if not run.ok:
            return False
        run_id = run.body["reconciliation_id"]
        await staff.call("GET", f"admin/reconciliations/{run_id}")
        await staff.call("GET", "admin/reconciliations")
        mine = [item for item in run.body["items"] if item["sale_id"] == sale.sale_id]
        if any(item["verdict"] == "drifting" for item in mine):
            told = True
            await staff.call("POST", f"admin/reconciliations/{run_id}/correct")
            return False
        return told and all(item["verdict"] == "balanced" for item in mine)

    await staff.until(balanced, OUTCOME_SECONDS)
