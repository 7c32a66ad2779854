"""Bringing a catalogue file into the database: idempotent, in batches, each one transaction."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path

from flashorder.infra.postgres.pool import Pool, transaction
from flashorder.infra.postgres.sql import load_sql
from flashorder.inventory import ledger
from flashorder.inventory.catalogue_file import Catalogue, RowError, read_catalogue
from flashorder.inventory.model import Cause, Movement, MovementKind, Product, movement_id_of
from flashorder.kernel.errors import InvalidInput

_SQL = load_sql("flashorder.inventory")
_SOURCE = uuid.UUID("0192f1a0-0000-7000-8000-0000ca7a109e")
"""Namespace of the movements of imports: a product gets its estimated opening stock once."""
BATCH_PRODUCTS = 1_000

Progress = Callable[[int], None]


def _silent(_lines: int) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class ImportReport:
    """What an import did. ``errors`` holds the first hundred of ``errors_total`` refused rows.

    ``kept`` counts products that the file has otherwise than an operator wrote them.
    """

    form: str
    lines_read: int
    products: int
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: int = 0
    units_received: int = 0
    no_product_lines: int = 0
    unpriced_codes: int = 0
    errors_total: int = 0
    errors: list[RowError] = field(default_factory=list)


async def import_catalogue(
    pool: Pool,
    path: Path | Traversable,
    *,
    actor: str = "import",
    progress: Progress = _silent,
) -> ImportReport:
    """Read the catalogue file at ``path`` (see ``catalogue_file`` for its forms) and apply it.

    Rows that cannot be read are reported by line number and left out. What an operator wrote by
    hand stays as it is. Again with the same file: no changes. ``InvalidInput`` for a file that
    cannot be read or has unknown columns.
    """

    def read() -> Catalogue:
        try:
            # Replaced, not refused: a stray byte in a name is no reason to leave a product out.
            with (
                path.open("rb") as raw,
                io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="") as lines,
            ):
                return read_catalogue(lines, progress)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None

    return await _apply(pool, await asyncio.to_thread(read), actor)


async def import_catalogue_lines(
    pool: Pool, lines: Iterable[str], *, actor: str, progress: Progress = _silent
) -> ImportReport:
    """The same for text that is in memory already."""
    return await _apply(pool, await asyncio.to_thread(read_catalogue, lines, progress), actor)


async def _apply(pool: Pool, catalogue: Catalogue, actor: str) -> ImportReport:
    report = ImportReport(
        form=catalogue.form,
        lines_read=catalogue.lines_read,
        products=len(catalogue.products),
        no_product_lines=catalogue.no_product_lines,
        unpriced_codes=catalogue.unpriced_codes,
        errors_total=catalogue.errors_total,
        errors=catalogue.errors,
    )
    products = sorted(catalogue.products, key=lambda product: product.sku)
    for start in range(0, len(products), BATCH_PRODUCTS):
        batch = products[start : start + BATCH_PRODUCTS]
        await _apply_batch(pool, batch, catalogue.opening_stock, actor, report)
    return report


async def _apply_batch(
    pool: Pool,
    batch: list[Product],
    opening_stock: dict[str, int],
    actor: str,
    report: ImportReport,
) -> None:
    async with transaction(pool) as connection:
        rows = await connection.fetch(
            _SQL["import_products"],
            [product.sku for product in batch],
            [product.name for product in batch],
            [product.unit_price.amount for product in batch],
            [product.unit_price.currency for product in batch],
            [product.weight_grams for product in batch],
        )
        outcomes = Counter(row["outcome"] for row in rows)
        created = {row["sku"] for row in rows if row["outcome"] == "created"}
        # An estimate is for what is new here; a product that has a history has its own stock.
        movements = [
            Movement(
                movement_id_of(_SOURCE, MovementKind.RECEIVED, product.sku),
                product.sku,
                MovementKind.RECEIVED,
                opening_stock[product.sku],
                Cause.CATALOGUE_ESTIMATE,
                actor,
            )
            for product in batch
            if product.sku in created and product.sku in opening_stock
        ]
        fresh = await ledger.record(connection, movements)
    report.created += outcomes["created"]
    report.updated += outcomes["updated"]
    report.kept += outcomes["kept"]
    report.unchanged += len(batch) - len(rows)
    report.units_received += sum(each.quantity for each in movements if each.movement_id in fresh)
