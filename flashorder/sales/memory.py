"""Whether the front can be believed when it says that it knows nothing of a purchase."""

from __future__ import annotations

import uuid

from flashorder.infra.postgres.pool import Pool, database_failures
from flashorder.kernel.errors import StoreUnavailable
from flashorder.sales.front import SaleFront
from flashorder.sales.store import SQL

RETRY_AFTER_SECONDS = 2.0
"""A rebuild waits for an operator, so nobody is asked to come back at once."""


class FrontMemory:
    """Holds what PostgreSQL promised to the front against what the front has."""

    def __init__(self, pool: Pool, front: SaleFront) -> None:
        self._pool = pool
        self._front = front

    async def check_unknown(self, sale_id: uuid.UUID) -> None:
        """Return if a sale that the front does not know is none that it should.

        Raises ``StoreUnavailable`` where the front has lost it; ``DatabaseUnavailable``.
        """
        with database_failures():
            promised = await self._pool.fetchval(SQL["is_promised_to_the_front"], sale_id)
        if promised:
            raise _lost()

    async def check_whole(self, buyer_id: uuid.UUID) -> None:
        """Return if the front has every sale that it should, where this buyer belongs.

        Raises ``StoreUnavailable`` while a sale is lost, or being filled anew, or the store is
        away; ``DatabaseUnavailable``. A store that came back with an older state of a sale in its
        present generation is not told from one that is whole.
        """
        with database_failures():
            promised = await self._pool.fetch(SQL["promised_to_the_front"])
        if not promised:
            return
        there = await self._front.generations([row["sale_id"] for row in promised], buyer_id)
        for row, generation in zip(promised, there, strict=True):
            if row["rebuilding"] or generation != row["generation"]:
                raise _lost()


def _lost() -> StoreUnavailable:
    return StoreUnavailable(
        "the store has lost what it knew, and is being filled anew",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
