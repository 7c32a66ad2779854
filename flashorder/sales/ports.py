"""What sales ask of the rooms above them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Protocol

from flashorder.infra.postgres.pool import Connection


class StockLedger(Protocol):
    """Moves stock to a sale and back, within the transaction that is open on ``connection``."""

    async def allocate(
        self,
        connection: Connection,
        units: Mapping[str, int],
        *,
        sale_id: uuid.UUID,
        source: uuid.UUID,
        cause: str,
        actor: str,
    ) -> None:
        """Give units of each SKU to the sale, once by ``source``.

        ``Conflict`` ``insufficient_stock`` when there are not as many.
        """
        ...

    async def release(
        self,
        connection: Connection,
        units: Mapping[str, int],
        *,
        sale_id: uuid.UUID,
        cause: str,
        actor: str,
    ) -> None:
        """Take units back from the sale; the caller makes it once."""
        ...
