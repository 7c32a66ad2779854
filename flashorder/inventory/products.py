"""Products: create, read, change, deactivate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flashorder.infra.postgres.pool import Pool, database_failures, transaction
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory.model import Product, StockPolicy, is_sku
from flashorder.kernel.errors import (
    Conflict,
    FieldError,
    InvalidInput,
    NotFound,
    PreconditionFailed,
)
from flashorder.kernel.money import Money

_SQL = load_sql("flashorder.inventory")


class Products:
    """What can be sold. Every method raises ``DatabaseUnavailable`` when PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, product: Product) -> Product:
        """A new product; ``Conflict`` ``sku_taken``, ``InvalidInput``."""
        _check(product)
        with database_failures():
            row = await self._pool.fetchrow(
                _SQL["insert_product"],
                product.sku,
                product.name,
                product.unit_price.amount,
                product.unit_price.currency,
                product.stock_policy,
                product.weight_grams,
            )
        if row is None:
            raise Conflict(f"there is a product {product.sku} already", code="sku_taken")
        return _product(row)

    async def get(self, sku: str) -> Product:
        """The product; ``NotFound`` ``sku_not_found``."""
        with database_failures():
            row = await self._pool.fetchrow(_SQL["read_product"], sku)
        if row is None:
            raise _unknown()
        return _product(row)

    async def page(
        self, *, after: str | None, search: str | None, active: bool | None, limit: int
    ) -> list[Product]:
        """Products by SKU from behind ``after``; ``search`` is in the SKU or the name."""
        with database_failures():
            rows = await self._pool.fetch(_SQL["page_of_products"], after, search, active, limit)
        return [_product(row) for row in rows]

    async def change(self, sku: str, version: int | None, changes: dict[str, Any]) -> Product:
        """Change the named fields of ``Product``.

        ``PreconditionFailed`` when ``version`` is given and no longer the present one,
        ``NotFound`` ``sku_not_found``, ``InvalidInput``.
        """
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(_SQL["lock_product"], sku)
            if row is None:
                raise _unknown()
            wanted = replace(_product(row), **changes)
            _check(wanted)
            changed = await connection.fetchrow(
                _SQL["change_product"],
                sku,
                wanted.name,
                wanted.unit_price.amount,
                wanted.unit_price.currency,
                wanted.stock_policy,
                wanted.weight_grams,
                wanted.active,
                version,
            )
        if changed is None:
            raise PreconditionFailed
        return _product(changed)

    async def deactivate(self, sku: str, version: int | None) -> None:
        """Sell it no more. Orders and sales that have it keep it. Again: nothing changes."""
        if version is not None or (await self.get(sku)).active:
            await self.change(sku, version, {"active": False})


def _check(product: Product) -> None:
    wrong = []
    if not is_sku(product.sku):
        wrong.append(FieldError("/sku", "characters", "letters, digits, '.', '_', '-'; 1 to 64"))
    if not product.name.strip() or not product.name.isprintable():
        wrong.append(FieldError("/name", "characters", "printable characters, not only spaces"))
    if product.unit_price.amount < 0:
        wrong.append(FieldError("/unit_price/amount", "range", "not negative"))
    if wrong:
        raise InvalidInput("the product cannot be as it is described", fields=tuple(wrong))


def _unknown() -> NotFound:
    return NotFound("there is no such product", code="sku_not_found")


def _product(row: Any) -> Product:
    return Product(
        sku=row["sku"],
        name=row["name"],
        unit_price=Money(row["unit_price_amount"], row["currency"]),
        stock_policy=StockPolicy(row["stock_policy"]),
        weight_grams=row["weight_grams"],
        version=row["version"],
        active=row["active"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
