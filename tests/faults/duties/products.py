"""The catalogue: a product's life, and a file that is imported."""

from __future__ import annotations

import uuid

from tests.faults.duties.staff import Staff


async def keep_the_catalogue(staff: Staff) -> None:
    """Created, read, changed, imported again, withdrawn."""
    sku = f"CHAOS-{uuid.uuid4().hex[:8].upper()}"
    price = {"amount": 499, "currency": "GBP"}
    made = {"sku": sku, "name": "A thing", "unit_price": price}
    (await staff.call("POST", "admin/products", made)).must()
    await staff.call("POST", "admin/products", made)
    await staff.call("GET", "admin/products?search=CHAOS")
    read = (await staff.call("GET", f"admin/products/{sku}")).must()
    changed = await staff.call(
        "PUT", f"admin/products/{sku}", {"name": "Another"}, headers={"If-Match": read.etag}
    )
    lines = f"sku,name,unit_price,currency\n{sku},A thing,5.99,GBP\n{sku}-B,Beside,1.00,GBP\n"
    await staff.call(
        "POST", "admin/products/import", lines.encode(), headers={"Content-Type": "text/csv"}
    )
    headers = {"If-Match": changed.etag} if changed.ok else {}
    await staff.call("DELETE", f"admin/products/{sku}", headers=headers)
