"""The ledger of stock: movements are appended within the caller's transaction, never edited."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import asyncpg

from flashorder.infra.postgres.pool import Connection
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory.model import NO_COUNTS, Cause, Movement, MovementKind, movement_id_of
from flashorder.kernel.errors import Conflict, NotFound

_SQL = load_sql("flashorder.inventory")
_LEVEL_CHECKS = frozenset({"stock_levels_on_hand", "stock_levels_available"})


async def record(connection: Connection, movements: Sequence[Movement]) -> set[uuid.UUID]:
    """Append ``movements``; returns the ids that were not there yet.

    ``Conflict`` ``insufficient_stock`` when a level would fall below zero (the caller's
    transaction is then over), ``NotFound`` ``sku_not_found`` for a SKU that is no product.
    """
    if not movements:
        return set()
    ordered = sorted(movements, key=lambda movement: movement.sku)
    try:
        rows = await connection.fetch(
            _SQL["record_movements"],
            [each.movement_id for each in ordered],
            [each.sku for each in ordered],
            [each.kind for each in ordered],
            [each.quantity for each in ordered],
            [each.cause for each in ordered],
            [each.reference for each in ordered],
            [each.actor for each in ordered],
        )
    except asyncpg.CheckViolationError as error:
        if error.constraint_name not in _LEVEL_CHECKS:
            raise
        raise Conflict(
            "the movement takes more than there is of the product", code="insufficient_stock"
        ) from None
    except asyncpg.ForeignKeyViolationError:
        raise NotFound("there is no such product", code="sku_not_found") from None
    return {row["movement_id"] for row in rows}


class StockLedger:
    """What a sale asks of the stock, each within the transaction that is open on ``connection``.

    A product that nobody has counted (no delivery, no adjustment: only the import's estimate, or
    nothing at all) is not refused for want of stock: the operator who promises units in a sale
    states that they are there, and the shortfall is received with the cause ``sale_promise``.
    From the first real receipt or count on, the level binds.
    """

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
        """Give units of each SKU to a sale; ``source`` makes it once (the sale, or its top-up).

        ``Conflict`` ``insufficient_stock`` names what is there of the first SKU that falls short.
        """
        skus = sorted(units)
        await connection.execute(_SQL["ensure_levels"], skus)
        rows = await connection.fetch(_SQL["lock_levels"], skus, list(NO_COUNTS))
        movements = []
        for row in rows:
            sku, wanted = row["sku"], units[row["sku"]]
            missing = wanted - row["available"]
            if missing > 0 and row["counted"]:
                raise Conflict(
                    f"of {sku} there are {row['available']} units to be had, {wanted} were asked",
                    code="insufficient_stock",
                )
            if missing > 0:
                movements.append(
                    Movement(
                        movement_id_of(source, MovementKind.RECEIVED, sku),
                        sku,
                        MovementKind.RECEIVED,
                        missing,
                        Cause.SALE_PROMISE,
                        actor,
                        str(sale_id),
                    )
                )
            movements.append(
                Movement(
                    movement_id_of(source, MovementKind.ALLOCATED, sku),
                    sku,
                    MovementKind.ALLOCATED,
                    -wanted,
                    cause,
                    actor,
                    str(sale_id),
                )
            )
        await record(connection, movements)

    async def release(
        self,
        connection: Connection,
        units: Mapping[str, int],
        *,
        sale_id: uuid.UUID,
        cause: str,
        actor: str,
    ) -> None:
        """Take units back from a sale; the caller's guarded UPDATE makes it once."""
        await record(
            connection,
            [
                Movement(
                    uuid.uuid4(),
                    sku,
                    MovementKind.RELEASED,
                    quantity,
                    cause,
                    actor,
                    str(sale_id),
                )
                for sku, quantity in units.items()
            ],
        )
