"""Who a caller can be."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Who a caller is; the ``role`` claim of the token."""

    SHOPPER = "shopper"
    OPERATOR = "operator"
    WAREHOUSE = "warehouse"
    SUPPORT = "support"
    SERVICE = "service"
