"""The calls on products and their stock."""

from __future__ import annotations

from flashorder.infra.http.endpoint import Endpoint
from flashorder.infra.postgres.pool import Pool
from flashorder.inventory import product_routes, stock_routes
from flashorder.inventory.products import Products
from flashorder.inventory.stock import Stock


def endpoints(pool: Pool) -> list[Endpoint]:
    """``/v1/admin/products`` and ``/v1/admin/stock``."""
    return [
        *product_routes.endpoints(Products(pool), pool),
        *stock_routes.endpoints(Stock(pool)),
    ]
