"""What the front remembers, told apart from what it has forgotten."""

from __future__ import annotations

import uuid

from flashorder.reservations.ports import AcceptedPurchase, AcceptedPurchases
from flashorder.sales.memory import FrontMemory


class RememberedPurchases:
    """``AcceptedPurchases`` that never takes a purchase that was lost for one that never was."""

    def __init__(self, accepted: AcceptedPurchases, memory: FrontMemory) -> None:
        self._accepted = accepted
        self._memory = memory

    async def find(self, order_id: uuid.UUID, buyer_id: uuid.UUID) -> AcceptedPurchase | None:
        """The purchase; None only where the front has all that it should have.

        Raises ``StoreUnavailable`` and ``DatabaseUnavailable`` where nobody can know.
        """
        purchase = await self._accepted.find(order_id, buyer_id)
        if purchase is None:
            await self._memory.check_whole(buyer_id)
        return purchase
